#include "target/store/image_convert.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include "common/json.hpp"
#include "common/manifest.hpp"
#include "target/store/converter_child.hpp"
#include "target/store/image_format.hpp"

namespace goldlink::store {

namespace {

// QEMU's description of the image, which names every file it may open: what stands in the files'
// own headers is never followed. A VHD's size is what its footer says, not its rounding to
// cylinders (which loses the disk's end).
json::object source_of(const ImageLayer* layer_at, std::size_t count) {
    const ImageLayer& layer = *layer_at;
    const std::string driver(qemu_format(layer.format));
    json::object source{
        {"driver", driver},
        {"file",
         json::object{{"driver", "file"}, {"locking", "off"}, {"filename", layer.file.string()}}}};
    if (driver == "vpc") source["force_size_calc"] = "current_size";
    if (driver == "qcow2") {
        if (count > 1)
            source["backing"] = source_of(layer_at + 1, count - 1);
        else
            source["backing"] = nullptr;
    }
    return source;
}

std::string source_text(const std::vector<ImageLayer>& layers) {
    return "json:" + json::serialize(source_of(layers.data(), layers.size()));
}
std::string source_text(const ImageLayer& alone) {
    return "json:" + json::serialize(source_of(&alone, 1));
}

std::vector<std::filesystem::path> files_of(const std::vector<ImageLayer>& layers) {
    std::vector<std::filesystem::path> files;
    for (const ImageLayer& layer : layers) {
        files.push_back(layer.file);
        files.insert(files.end(), layer.extents.begin(), layer.extents.end());
    }
    return files;
}

struct ImageInfo {
    std::uint64_t virtual_size_bytes = 0;
};

Result<ImageInfo> examine(const std::vector<ImageLayer>& layers, Progress& progress) {
    const ImageLayer& top = layers.front();
    GOLDLINK_TRY_ASSIGN(const ConverterEnd ended,
                        run_converter({files_of(layers),
                                       {},
                                       converter_limits(0),
                                       {"qemu-img", "info", "--output=json", source_text(top)}},
                                      progress));
    if (ended.status.code != 0)
        return failure(ErrorKind::invalid, fmt::format("{} is damaged or is no {}: {}", top.name,
                                                       top.format, ended.why("qemu-img")));
    GOLDLINK_TRY_ASSIGN(const auto info, json::parse_object(ended.output));
    const bool whole = layers.size() == 1;
    for (const std::string_view reference :
         {"backing-filename", "full-backing-filename", "data-file"})
        if (info.contains(reference) && (whole || reference == "data-file"))
            return failure(
                ErrorKind::invalid,
                fmt::format("{} needs another file, which an import never opens; make it whole "
                            "first with qemu-img convert",
                            top.name));
    const auto encrypted = json::optional_bool(info, "encrypted");
    if (encrypted && encrypted->value_or(false))
        return failure(ErrorKind::invalid,
                       fmt::format("{} is encrypted; decrypt it first", top.name));
    GOLDLINK_TRY_ASSIGN(const std::int64_t size,
                        json::int_field(info, "virtual-size", 0, INT64_MAX));
    if (size == 0 || static_cast<std::uint64_t>(size) > kMaxDiskBytes)
        return failure(ErrorKind::invalid,
                       fmt::format("{} says that it holds a disk of {} bytes, a disk has 1 to {}",
                                   top.name, size, kMaxDiskBytes));
    return ImageInfo{static_cast<std::uint64_t>(size)};
}

// Reads of clusters that lie past a cut file's end give zeros, not errors: so check first.
Result<> check_consistency(const std::vector<ImageLayer>& layers, std::size_t which,
                           std::uint64_t disk_bytes, Progress& progress) {
    GOLDLINK_TRY_ASSIGN(const ConverterEnd ended,
                        run_converter({files_of(layers),
                                       {},
                                       converter_limits(disk_bytes),
                                       {"qemu-img", "check", source_text(layers[which])}},
                                      progress));
    constexpr int kLeaksOnly = 3, kNotSupported = 63;
    if (ended.status.code == 0 || ended.status.code == kLeaksOnly ||
        ended.status.code == kNotSupported)
        return {};
    return failure(ErrorKind::invalid, fmt::format("{} is damaged or cut short: {}",
                                                   layers[which].name, ended.why("qemu-img")));
}

}  // namespace

Result<> convert_to_raw(const std::vector<ImageLayer>& layers, const std::filesystem::path& raw,
                        std::uint64_t later_bytes, Progress& progress) {
    GOLDLINK_TRY_ASSIGN(const ImageInfo info, examine(layers, progress));
    const std::uint64_t size = (info.virtual_size_bytes + 511) / 512 * 512;
    for (std::size_t i = 0; i < layers.size(); ++i)
        GOLDLINK_TRY(check_consistency(layers, i, size, progress));
    progress.total_bytes = progress.done_bytes + size + (later_bytes == 0 ? size : later_bytes);
    if (::truncate(raw.c_str(), static_cast<off_t>(size)) != 0)
        return system_failure(fmt::format("cannot size {}", raw.string()));
    GOLDLINK_TRY_ASSIGN(const ConverterEnd ended,
                        run_converter({files_of(layers),
                                       raw,
                                       converter_limits(size),
                                       {"qemu-img", "convert", "-p", "-n", "--target-is-zero", "-O",
                                        "raw", source_text(layers), raw.string()},
                                       {},
                                       {},
                                       {},
                                       size},
                                      progress));
    if (ended.status.code == 0) return {};
    const ImageLayer& top = layers.front();
    if (ended.disk_full())
        return failure(
            ErrorKind::exhausted,
            fmt::format("the filesystem of {} is full while {} is converted; remove versions or "
                        "add space",
                        raw.parent_path().string(), top.name));
    return failure(ErrorKind::invalid, fmt::format("{} cannot be read as {}: {}", top.name,
                                                   top.format, ended.why("qemu-img")));
}

Result<> convert_from_raw(const std::filesystem::path& raw, std::uint64_t size_bytes,
                          const std::filesystem::path& target, const std::string& format,
                          Progress& progress) {
    const auto absolute = std::filesystem::absolute(target);
    SandboxLimits limits = converter_limits(size_bytes);
    limits.file_bytes = size_bytes + size_bytes / 16 + (64ull << 20);  // tables of the format
    std::vector<std::string> argv = {
        "qemu-img", "convert", "-p", "-f", "raw", "-O", std::string(qemu_format(format))};
    if (format == "vhd") argv.insert(argv.end(), {"-o", "force_size=on"});
    argv.insert(argv.end(), {raw.string(), absolute.string()});
    GOLDLINK_TRY_ASSIGN(
        const ConverterEnd ended,
        run_converter({{raw}, absolute, limits, argv, {}, {}, {}, size_bytes}, progress));
    if (ended.status.code == 0) return {};
    return failure(
        ended.disk_full() ? ErrorKind::exhausted : ErrorKind::io,
        fmt::format("cannot write {} as {}: {}", target.string(), format, ended.why("qemu-img")));
}

}  // namespace goldlink::store
