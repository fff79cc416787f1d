#include "common/foreign_files.hpp"

#include <array>

#include "common/image_magic.hpp"

namespace goldlink {

namespace {

using namespace std::string_view_literals;

constexpr std::string_view kConvert =
    "convert it first: qemu-img convert -O qcow2 <file> <new file>";
constexpr std::string_view kNoDisk = "it holds files, not a disk. Import a disk they are on";

struct Row {
    std::string_view magic;
    std::size_t at;
    ForeignFile file;
};

constexpr std::array kByFirstBytes = {
    Row{"\x7f\x10\xda\xbe"sv, 64, {"a VirtualBox disk (VDI)", kConvert}},
    Row{"QED\0"sv, 0, {"a QED disk", kConvert}},
    Row{"QFI\xfb\0\0\0\1"sv, 0, {"a qcow of version 1", kConvert}},
    Row{"WithoutFreeSpace"sv, 0, {"a Parallels disk", kConvert}},
    Row{"WithouFreSpacExt"sv, 0, {"a Parallels disk", kConvert}},
    Row{"Bochs Virtual HD Image"sv, 0, {"a Bochs disk", kConvert}},
    Row{"#!/bin/sh\n#V2.0 Format\n"sv, 0, {"a cloop file", kConvert}},
    Row{"\x3a\xff\x26\xed"sv,
        0,
        {"a sparse Android image", "unpack it first: simg2img <file> <new file>"}},
    Row{"VMA\0"sv,
        0,
        {"a Proxmox backup (VMA)", "take the disk out of it first: vma extract <file> <folder>"}},
    Row{"7z\xbc\xaf\x27\x1c"sv, 0, {"a 7z archive", "unpack it first: 7z x <file>"}},
    Row{"Rar!\x1a\x07"sv, 0, {"a RAR archive", "unpack it first: unrar x <file>"}},
    Row{"\x04\x22\x4d\x18"sv,
        0,
        {"compressed by lz4", "unpack it first: lz4 -d <file> <new file>"}},
    Row{"\x02\x21\x4c\x18"sv,
        0,
        {"compressed by lz4", "unpack it first: lz4 -d <file> <new file>"}},
    Row{"LZIP"sv, 0, {"compressed by lzip", "unpack it first: lzip -d <file>"}},
    Row{"\x89LZO\0"sv, 0, {"compressed by lzop", "unpack it first: lzop -d <file>"}},
    Row{"\x1f\x9d"sv, 0, {"compressed by compress", "unpack it first: gzip -d <file>"}},
    Row{"MSCF\0\0\0\0"sv, 0, {"a CAB archive", kNoDisk}},
    Row{"MSWIM\0\0\0"sv,
        0,
        {"a Windows image (WIM)",
         "it holds files, not a disk. Install them on a disk first (Windows: DISM /Apply-Image), "
         "or import the installer's ISO with format iso"}},
    Row{"hsqs"sv, 0, {"a squashfs file system", kNoDisk}},
    Row{"EVF\x09\r\n\xff\0"sv,
        0,
        {"an EnCase image (E01)", "convert it first: ewfexport -f raw <file>"}},
    Row{"partclone-image"sv,
        0,
        {"a partclone image", "restore it to a disk first: partclone.restore"}},
    Row{"\0ntfsclone-image"sv,
        0,
        {"an ntfsclone image", "restore it to a disk first: ntfsclone --restore-image"}},
    Row{"%PDF-"sv, 0, {"a PDF document", "name the disk image"}},
    Row{"<!DOCTYPE"sv, 0, {"a web page", "the download did not bring the file; download it again"}},
    Row{"<!doctype"sv, 0, {"a web page", "the download did not bring the file; download it again"}},
    Row{"<html"sv, 0, {"a web page", "the download did not bring the file; download it again"}},
    Row{"<?xml"sv,
        0,
        {"a text that describes a machine (OVF?)",
         "import the disk it names, or the whole as an OVA"}},
};

constexpr ForeignFile kDmg = {"an Apple disk image (DMG)",
                              "convert it first: qemu-img convert -f dmg -O raw <file> <new file>"};

}  // namespace

const ForeignFile* foreign_file(Bytes first, Bytes last) {
    for (const Row& row : kByFirstBytes)
        if (has_magic(first, row.magic, row.at)) return &row.file;
    return has_magic(last, "koly\0\0\0\4"sv) ? &kDmg : nullptr;
}

}  // namespace goldlink
