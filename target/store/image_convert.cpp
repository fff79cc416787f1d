#include "target/store/image_convert.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "common/json.hpp"
#include "common/manifest.hpp"
#include "target/store/converter_child.hpp"
#include "target/store/image_format.hpp"
#include "target/store/space_account.hpp"
#include "target/store/vmdk_image.hpp"

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
    if (driver == "qcow2" && count > 1)
        source["backing"] = source_of(layer_at + 1, count - 1);
    else if (driver == "qcow2" || driver == "vmdk")
        source["backing"] = nullptr;
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
        for (const VmdkExtent& extent : layer.extents) files.emplace_back(extent.file);
    }
    return files;
}

// Layers whose VMDK texts are replaced by our own, which live as long as this.
struct PlainLayers {
    std::vector<ImageLayer> layers;
    std::vector<VmdkDescriptorFile> descriptors;
};

Result<PlainLayers> plain_layers(std::vector<ImageLayer> layers,
                                 const std::filesystem::path& folder) {
    PlainLayers plain{std::move(layers), {}};
    for (ImageLayer& layer : plain.layers) {
        if (layer.extents.empty()) continue;
        GOLDLINK_TRY_ASSIGN(auto written, write_vmdk_descriptor(layer.extents, folder));
        layer.file = written.text.path();
        for (VmdkExtent& extent : layer.extents)
            if (extent.file.empty())
                extent.file = std::filesystem::absolute(written.zeros->path()).string();
        plain.descriptors.push_back(std::move(written));
    }
    return plain;
}

// What qemu-img says that it opened for a VMDK must be what it was told to.
Result<> check_extents_opened(const ImageLayer& layer, const json::object& info) {
    if (layer.format != "vmdk") return {};
    GOLDLINK_TRY_ASSIGN(const auto specific, json::object_field(info, "format-specific"));
    GOLDLINK_TRY_ASSIGN(const auto data, json::object_field(specific, "data"));
    GOLDLINK_TRY_ASSIGN(const auto extents, json::array_field(data, "extents", kMaxVmdkExtents));
    const std::vector<std::filesystem::path> known = files_of({layer});
    for (const json::value& extent : extents) {
        GOLDLINK_TRY_ASSIGN(
            const auto file,
            json::string_field(extent.is_object() ? extent.get_object() : json::object(),
                               "filename", 1, 4096));
        if (std::find(known.begin(), known.end(), std::filesystem::path(file)) == known.end())
            return failure(ErrorKind::invalid,
                           fmt::format("{} leads to another file ({}), which an import never "
                                       "opens; make it whole first with qemu-img convert",
                                       layer.name, file.substr(0, 200)));
    }
    return {};
}

struct ImageInfo {
    std::uint64_t virtual_size_bytes = 0;
};

Failure damaged(const ImageLayer& layer, std::string_view how, const ConverterEnd& ended) {
    return failure(ErrorKind::invalid,
                   fmt::format("{} {}: {}{}{}", layer.name, how, ended.why("qemu-img"),
                               layer.repair.empty() ? "" : ". ", layer.repair));
}

Result<ImageInfo> examine(const std::vector<ImageLayer>& layers, Progress& progress) {
    const ImageLayer& top = layers.front();
    GOLDLINK_TRY_ASSIGN(const ConverterEnd ended,
                        run_converter({files_of(layers),
                                       {},
                                       converter_limits(0),
                                       {"qemu-img", "info", "--output=json", source_text(top)}},
                                      progress));
    if (ended.status.code != 0)
        return damaged(top, fmt::format("is damaged or is no {}", top.format), ended);
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
    GOLDLINK_TRY(check_extents_opened(top, info));
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
    if (top.disk_bytes != 0 && static_cast<std::uint64_t>(size) != top.disk_bytes)
        return failure(ErrorKind::invalid,
                       fmt::format("{} is damaged: it describes a disk of {} bytes, and its data "
                                   "makes one of {}",
                                   top.name, top.disk_bytes, size));
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
    return damaged(layers[which], "is damaged or cut short", ended);
}

// What the raw disk will take: qemu-img counts the clusters that hold data.
Result<std::uint64_t> measure(const std::vector<ImageLayer>& layers, Progress& progress) {
    GOLDLINK_TRY_ASSIGN(
        const ConverterEnd ended,
        run_converter({files_of(layers),
                       {},
                       converter_limits(0),
                       {"qemu-img", "measure", "--output=json", "-O", "raw", source_text(layers)}},
                      progress));
    if (ended.status.code != 0) return 0;  // a format without: what it writes is watched
    GOLDLINK_TRY_ASSIGN(const auto measured, json::parse_object(ended.output));
    GOLDLINK_TRY_ASSIGN(const std::int64_t bytes,
                        json::int_field(measured, "required", 0, INT64_MAX));
    return static_cast<std::uint64_t>(bytes);
}

}  // namespace

Result<> convert_to_raw(const std::vector<ImageLayer>& given, const std::filesystem::path& raw,
                        std::uint64_t later_bytes, Progress& progress) {
    GOLDLINK_TRY_ASSIGN(const PlainLayers plain, plain_layers(given, raw.parent_path()));
    const std::vector<ImageLayer>& layers = plain.layers;
    GOLDLINK_TRY_ASSIGN(const ImageInfo info, examine(layers, progress));
    const std::uint64_t size = (info.virtual_size_bytes + 511) / 512 * 512;
    for (std::size_t i = 0; i < layers.size(); ++i)
        GOLDLINK_TRY(check_consistency(layers, i, size, progress));
    if (progress.space != nullptr) {
        GOLDLINK_TRY_ASSIGN(const std::uint64_t needed, measure(layers, progress));
        GOLDLINK_TRY(progress.space->grow(needed));
    }
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
    return damaged(top, fmt::format("cannot be read as {}", top.format), ended);
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
