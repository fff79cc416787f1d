#include "target/store/vmdk_image.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "common/bytes.hpp"
#include "common/file.hpp"
#include "common/image_magic.hpp"
#include "common/manifest.hpp"
#include "target/store/vmdk_grains.hpp"

namespace goldlink::store {

namespace {

constexpr std::string_view kHostedMagic = "KDMV", kEsxMagic = "COWD";
// SESparse: a number of 64 bits, little endian.
constexpr std::string_view kSeSparseMagic("\xbe\xba\xfe\xca\0\0\0\0", 8);

// How many sectors the header of a sparse extent says that it has; nullopt: it is none.
std::optional<std::uint64_t> sectors_of_header(const std::vector<std::uint8_t>& first) {
    if (first.size() < kSectorBytes) return std::nullopt;
    if (has_magic(first, kHostedMagic)) return load_le64(first.data() + 12);
    if (has_magic(first, kEsxMagic)) return load_le32(first.data() + 12);
    if (has_magic(first, kSeSparseMagic)) return load_le64(first.data() + 16);
    return std::nullopt;
}

std::uint64_t sum_of(const std::vector<VmdkExtent>& extents) {
    std::uint64_t sectors = 0;
    for (const VmdkExtent& extent : extents) sectors += extent.sectors;
    return sectors;
}

// SparseExtentHeader ("Virtual Disk Format 5.0", Hosted Sparse Extents): where the embedded
// descriptor lies, in sectors. There is none where another file describes this one.
Result<std::vector<std::uint8_t>> read_embedded(const ImageFile& file,
                                                const std::vector<std::uint8_t>& first) {
    std::vector<std::uint8_t> descriptor;
    const std::uint64_t at = load_le64(first.data() + 28), length = load_le64(first.data() + 36);
    const std::uint64_t file_sectors = file.size_bytes / kSectorBytes;
    if (at == 0 || at >= file_sectors) return descriptor;
    const std::uint64_t bytes = std::min({std::max<std::uint64_t>(length, 1), file_sectors - at,
                                          std::uint64_t{kMaxVmdkDescriptorBytes / kSectorBytes}}) *
                                kSectorBytes;
    GOLDLINK_TRY_ASSIGN(descriptor, file.read(at * kSectorBytes, static_cast<std::size_t>(bytes)));
    if (!has_magic(descriptor, kVmdkDescriptorMagic)) descriptor.clear();
    return descriptor;
}

// One file that is the whole disk: its own descriptor names it, and nothing else.
Result<> check_embedded(const ImageFile& file, const std::vector<std::uint8_t>& first,
                        const std::vector<VmdkExtent>& extents) {
    const std::uint64_t sectors = load_le64(first.data() + 12);
    if (extents.size() != 1 || extents.front().is_flat() || sectors == 0)
        return refuse(
            file,
            "is a VMDK whose descriptor, inside it, says that the data lies elsewhere. "
            "Make one whole file of it first: qemu-img convert -O vmdk <file> <new file>");
    if (extents.front().sectors != sectors)
        return refuse(file, fmt::format("is a damaged VMDK: its header says {} sectors, the "
                                        "descriptor inside it {}",
                                        sectors, extents.front().sectors));
    return {};
}

}  // namespace

Result<> read_vmdk(const ImageFile& file, const std::vector<std::uint8_t>& first, ImageKind& kind) {
    if (has_magic(first, kVmdkDescriptorMagic)) {
        if (file.size_bytes > kMaxVmdkDescriptorBytes)
            return refuse(file, "is a VMDK descriptor that is longer than any real one");
        GOLDLINK_TRY_ASSIGN(const auto text,
                            file.read(0, static_cast<std::size_t>(file.size_bytes)));
        GOLDLINK_TRY_ASSIGN(kind.extents, parse_vmdk_descriptor(as_text(text), file.name));
        kind.disk_bytes = sum_of(kind.extents) * kSectorBytes;
        return {};
    }
    std::vector<std::uint8_t> descriptor;
    if (has_magic(first, kHostedMagic)) {
        GOLDLINK_TRY_ASSIGN(descriptor, read_embedded(file, first));
    }
    if (descriptor.empty())
        return refuse(file,
                      "is one of the files of a split VMDK. Import the small .vmdk that names "
                      "them all, with its files beside it");
    GOLDLINK_TRY_ASSIGN(const auto extents, parse_vmdk_descriptor(as_text(descriptor), file.name));
    GOLDLINK_TRY(check_embedded(file, first, extents));
    kind.disk_bytes = sum_of(extents) * kSectorBytes;
    return check_vmdk_grains(file, first);
}

Result<> check_vmdk_extent(const ImageFile& file, const VmdkExtent& extent) {
    if (extent.is_flat()) {
        const std::uint64_t needed = (extent.offset_sectors + extent.sectors) * kSectorBytes;
        if (file.size_bytes >= needed) return {};
        return refuse(file,
                      fmt::format("was cut short: it has {} bytes, and the VMDK it belongs to "
                                  "needs {} of it. Copy it again",
                                  file.size_bytes, needed));
    }
    GOLDLINK_TRY_ASSIGN(const auto first, file.read(0, kSectorBytes));
    const auto sectors = sectors_of_header(first);
    if (sectors == extent.sectors) return check_vmdk_grains(file, first);
    if (!sectors)
        return refuse(file, fmt::format("does not begin as the {} extent of a VMDK that it is said "
                                        "to be. Copy the files of the VMDK again",
                                        extent.type));
    return refuse(file, fmt::format("has {} sectors, and the VMDK it belongs to says {}: they are "
                                    "not of one disk. Copy the files of the VMDK again",
                                    *sectors, extent.sectors));
}

namespace {

Result<SpoolFile> write_zeros(std::uint64_t bytes, const std::filesystem::path& folder) {
    GOLDLINK_TRY_ASSIGN(auto file, SpoolFile::create(folder));
    if (::truncate(file.path().c_str(), static_cast<off_t>(bytes)) != 0)
        return system_failure(fmt::format("cannot size {}", file.path().string()));
    return file;
}

}  // namespace

Result<VmdkDescriptorFile> write_vmdk_descriptor(const std::vector<VmdkExtent>& extents,
                                                 const std::filesystem::path& folder) {
    std::uint64_t longest_zeros = 0;
    for (const VmdkExtent& extent : extents)
        if (extent.file.empty()) longest_zeros = std::max(longest_zeros, extent.sectors);
    std::optional<SpoolFile> zeros;
    if (longest_zeros > 0) {
        GOLDLINK_TRY_ASSIGN(auto file, write_zeros(longest_zeros * kSectorBytes, folder));
        zeros.emplace(std::move(file));
    }
    // The type is not looked at any further than that it is one of several files.
    std::string text = fmt::format(
        "{}\nversion=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType=\"twoGbMaxExtentFlat\"\n",
        kVmdkDescriptorMagic);
    for (const VmdkExtent& extent : extents) {
        const std::string path =
            extent.file.empty() ? std::filesystem::absolute(zeros->path()).string() : extent.file;
        constexpr std::size_t kMaxPathBytes = 500;  // qemu-img takes 511
        if (path.size() > kMaxPathBytes || path.find_first_of("\"\r\n") != std::string::npos)
            return failure(
                ErrorKind::invalid,
                fmt::format("{} has a path that a VMDK cannot be read from: it is longer "
                            "than {} bytes, or has a quotation mark or a line's end. "
                            "Put it elsewhere",
                            path, kMaxPathBytes));
        if (extent.is_flat() || extent.file.empty())
            text +=
                fmt::format("RW {} FLAT \"{}\" {}\n", extent.sectors, path, extent.offset_sectors);
        else
            text += fmt::format("RW {} {} \"{}\"\n", extent.sectors, extent.type, path);
    }
    GOLDLINK_TRY_ASSIGN(auto file, SpoolFile::create(folder));
    const FileDescriptor fd(::open(file.path().c_str(), O_WRONLY | O_CLOEXEC));
    if (!fd) return system_failure(fmt::format("cannot open {}", file.path().string()));
    GOLDLINK_TRY(write_at(fd.get(), as_bytes(text), 0, file.path().string()));
    return VmdkDescriptorFile{std::move(file), std::move(zeros)};
}

}  // namespace goldlink::store
