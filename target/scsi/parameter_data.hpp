// ParameterData: composes a command's parameter data straight into the task's buffer, cut at the
// allocation length as SPC-4 4.3.5.6 asks: what does not fit is counted but not stored, so length
// fields still tell the whole.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "common/bytes.hpp"
#include "target/scsi/device.hpp"

namespace goldlink::scsi {

class ParameterData {
  public:
    // Room is what prepare granted: min(allocation length, kMaxParameterBytes).
    explicit ParameterData(Task& task) : task_(task), room_(task.data_in_length) {}
    ParameterData(const ParameterData&) = delete;
    ParameterData& operator=(const ParameterData&) = delete;

    std::size_t size() const { return size_; }

    void bytes(Bytes data) {
        if (size_ < room_)
            std::memcpy(task_.buffer + size_, data.data(), std::min(data.size(), room_ - size_));
        size_ += data.size();
    }
    void u8(std::uint8_t value) { bytes({&value, 1}); }
    void be16(std::uint16_t value) {
        std::array<std::uint8_t, 2> raw{};
        store_be16(raw.data(), value);
        bytes(raw);
    }
    void be32(std::uint32_t value) {
        std::array<std::uint8_t, 4> raw{};
        store_be32(raw.data(), value);
        bytes(raw);
    }
    void be64(std::uint64_t value) {
        std::array<std::uint8_t, 8> raw{};
        store_be64(raw.data(), value);
        bytes(raw);
    }
    void zeroes(std::size_t count) {
        while (count-- > 0) u8(0);
    }
    // Left-aligned ASCII, cut or padded with spaces (SPC-4 4.3.1).
    void text(std::string_view value, std::size_t width) {
        for (std::size_t i = 0; i < width; ++i)
            u8(i < value.size() ? static_cast<std::uint8_t>(value[i]) : std::uint8_t{' '});
    }

    // Length fields written before what they count was known.
    void patch_u8(std::size_t at, std::size_t value) {
        patch(at, static_cast<std::uint8_t>(value));
    }
    void patch_be16(std::size_t at, std::size_t value) {
        patch(at, static_cast<std::uint8_t>(value >> 8));
        patch(at + 1, static_cast<std::uint8_t>(value));
    }
    void patch_be32(std::size_t at, std::size_t value) {
        patch_be16(at, value >> 16);
        patch_be16(at + 2, value & 0xFFFF);
    }

    // The command returns what was composed; always Step::finished.
    Step finish() {
        task_.data_in_length = static_cast<std::uint32_t>(std::min(size_, room_));
        return Step::finished;
    }

  private:
    void patch(std::size_t at, std::uint8_t value) {
        if (at < room_) task_.buffer[at] = value;
    }

    Task& task_;
    std::size_t room_;
    std::size_t size_ = 0;
};

// No parameter data of ours is longer; larger allocation lengths are cut to it before the session
// looks for a buffer.
inline constexpr std::uint32_t kMaxParameterBytes = 64 * 1024;

inline Step grant_parameter_data(Task& task, std::uint32_t allocation_length) {
    task.data_in_length = std::min(allocation_length, kMaxParameterBytes);
    return Step::pending;
}

}  // namespace goldlink::scsi
