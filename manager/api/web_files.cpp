#include "manager/api/web_files.hpp"

#include <fmt/format.h>

#include <filesystem>

#include "common/log.hpp"

namespace goldlink::manager::api {
namespace {

namespace fs = std::filesystem;

struct Type {
    std::string_view extension, content_type;
};
constexpr Type kTypes[] = {
    {".html", "text/html; charset=utf-8"},
    {".js", "text/javascript; charset=utf-8"},
    {".css", "text/css; charset=utf-8"},
    {".svg", "image/svg+xml"},
    {".png", "image/png"},
    {".ico", "image/x-icon"},
    {".json", "application/json"},
    {".webmanifest", "application/manifest+json"},
    {".woff2", "font/woff2"},
    {".map", "application/json"},
    {".txt", "text/plain; charset=utf-8"},
};

// "" for an extension that no file of the console has.
std::string_view content_type_of(const fs::path& path) {
    for (const Type& type : kTypes)
        if (path.extension() == type.extension) return type.content_type;
    return "";
}

// The console loads nothing from elsewhere and runs no inline script.
constexpr std::string_view kContentSecurityPolicy =
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' "
    "data:; "
    "connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors "
    "'none'";

http::Response file_response(const fs::path& path, bool immutable) {
    http::Response response;
    response.content_type = content_type_of(path);
    if (response.content_type.empty()) response.content_type = "application/octet-stream";
    response.file_path = path.string();
    // Vite names what it builds by content, so those files never change; index.html names them.
    response.headers.emplace_back("Cache-Control",
                                  immutable ? "public, max-age=31536000, immutable" : "no-cache");
    response.headers.emplace_back("Content-Security-Policy", kContentSecurityPolicy);
    response.headers.emplace_back("X-Content-Type-Options", "nosniff");
    response.headers.emplace_back("Referrer-Policy", "no-referrer");
    return response;
}

bool is_file(const fs::path& path) {
    std::error_code error;
    return fs::is_regular_file(path, error);
}

// Symbolic links and ".." must not lead out of the folder.
bool is_inside(const fs::path& root, const fs::path& path) {
    std::error_code error;
    const fs::path real = fs::canonical(path, error);
    if (error) return false;
    const fs::path relative = real.lexically_relative(root);
    return !relative.empty() && *relative.begin() != "..";
}

}  // namespace

http::Handler web_files(std::string web_dir) {
    std::error_code error;
    const fs::path root = web_dir.empty() ? fs::path() : fs::canonical(web_dir, error);
    if (error) log::warn("the web console is not served: {}: {}", web_dir, error.message());
    return [root](http::Request& request) {
        const auto nothing = [&] {
            return http::problem(
                404, "not-found", "Not found",
                fmt::format("there is nothing at {}{}", request.path.substr(0, 200),
                            root.empty() ? "; this manager serves no web console" : ""));
        };
        if (request.path.starts_with("/api/") || root.empty()) return nothing();
        if (request.method != "GET" && request.method != "HEAD")
            return http::problem(405, "method-not-allowed", "Method not allowed",
                                 "the console's files are only read");
        const std::string relative = request.path.substr(1);
        const fs::path path = root / fs::path(relative).relative_path();
        if (!relative.empty() && is_file(path) && is_inside(root, path))
            return file_response(path, relative.starts_with("assets/"));
        // What does not look like a file is an address inside the console ("/clients/PC-1.lab").
        if (!content_type_of(relative).empty() || !is_file(root / "index.html")) return nothing();
        return file_response(root / "index.html", false);
    };
}

}  // namespace goldlink::manager::api
