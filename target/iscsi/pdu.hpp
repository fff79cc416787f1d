// iSCSI PDUs on the wire (RFC 7143 section 11): opcodes, field accessors for the 48-byte basic
// header segment (BHS), and what a received PDU looks like to the layers above.
//
// Accessors take a pointer to 48 readable bytes; the stream (stream.hpp) has checked that before
// anyone else sees a header. Everything here is pure.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "common/bytes.hpp"

namespace goldlink::iscsi {

inline constexpr std::size_t kBhsBytes = 48;
inline constexpr std::size_t kDigestBytes = 4;
inline constexpr std::size_t kMaxAhsBytes = 255 * 4;  // TotalAHSLength is a byte of 4-byte words
inline constexpr std::uint32_t kReservedTag = 0xffffffff;
inline constexpr std::uint16_t kPortalGroupTag = 1;  // we have one portal group

enum class Opcode : std::uint8_t {  // RFC 7143 11.2.1.2
    nop_out = 0x00,
    scsi_command = 0x01,
    task_management = 0x02,
    login = 0x03,
    text = 0x04,
    data_out = 0x05,
    logout = 0x06,
    snack = 0x10,
    nop_in = 0x20,
    scsi_response = 0x21,
    task_management_response = 0x22,
    login_response = 0x23,
    text_response = 0x24,
    data_in = 0x25,
    logout_response = 0x26,
    r2t = 0x31,
    async_message = 0x32,
    reject = 0x3f,
};

enum class RejectReason : std::uint8_t {  // RFC 7143 11.17.1
    data_digest_error = 0x02,
    snack_reject = 0x03,
    protocol_error = 0x04,
    command_not_supported = 0x05,
    too_many_immediate = 0x06,
    task_in_progress = 0x07,
    invalid_pdu_field = 0x09,
    out_of_resources = 0x0a,
    waiting_for_logout = 0x0c,
};

// Byte 1 of most PDUs.
inline constexpr std::uint8_t kFinal = 0x80;
inline constexpr std::uint8_t kContinue = 0x40;  // text and login

// SCSI Command, byte 1 (11.3.1).
inline constexpr std::uint8_t kCommandRead = 0x40;
inline constexpr std::uint8_t kCommandWrite = 0x20;
inline constexpr std::uint8_t kCommandAttributes = 0x07;

// Data-In, byte 1 (11.7), and SCSI Response, byte 1 (11.4.1).
inline constexpr std::uint8_t kDataInStatus = 0x01;
inline constexpr std::uint8_t kUnderflow = 0x02;
inline constexpr std::uint8_t kOverflow = 0x04;
inline constexpr std::uint8_t kBidirectionalUnderflow = 0x08;
inline constexpr std::uint8_t kBidirectionalOverflow = 0x10;

enum class AhsType : std::uint8_t { extended_cdb = 1, bidirectional_read_length = 2 };  // 11.2.2.1

enum class AsyncEvent : std::uint8_t {  // 11.9.1
    scsi = 0,
    logout_requested = 1,
    connection_dropped = 2,
    session_dropped = 3,
    renegotiate = 4,
};

inline std::size_t padding(std::size_t bytes) { return (4 - bytes % 4) % 4; }
inline std::size_t padded(std::size_t bytes) { return bytes + padding(bytes); }

// Reads the fields of a BHS. Field names are the RFC's; each says where it is meaningful.
class Bhs {
  public:
    explicit Bhs(const std::uint8_t* bytes) : p_(bytes) {}

    Opcode opcode() const { return static_cast<Opcode>(p_[0] & 0x3f); }
    bool immediate() const { return (p_[0] & 0x40) != 0; }
    std::uint8_t flags() const { return p_[1]; }
    bool final() const { return (p_[1] & kFinal) != 0; }
    std::size_t ahs_bytes() const { return std::size_t{p_[4]} * 4; }
    std::uint32_t data_length() const { return load_be24(p_ + 5); }
    std::uint64_t lun() const { return load_be64(p_ + 8); }
    std::uint32_t itt() const { return load_be32(p_ + 16); }
    std::uint32_t ttt() const { return load_be32(p_ + 20); }  // NOP, Text, Data-Out
    std::uint32_t cmd_sn() const { return load_be32(p_ + 24); }
    std::uint32_t exp_stat_sn() const { return load_be32(p_ + 28); }
    std::uint32_t expected_data_length() const { return load_be32(p_ + 20); }  // SCSI Command
    const std::uint8_t* cdb() const { return p_ + 32; }                        // SCSI Command
    std::uint32_t referenced_task_tag() const { return load_be32(p_ + 20); }   // task management
    std::uint32_t ref_cmd_sn() const { return load_be32(p_ + 32); }            // task management
    std::uint32_t data_sn() const { return load_be32(p_ + 36); }               // Data-Out
    std::uint32_t buffer_offset() const { return load_be32(p_ + 40); }         // Data-Out
    std::uint64_t isid() const {                                               // Login, 48 bits
        return (std::uint64_t{load_be32(p_ + 8)} << 16) | load_be16(p_ + 12);
    }
    std::uint16_t tsih() const { return load_be16(p_ + 14); }  // Login
    std::uint16_t cid() const { return load_be16(p_ + 20); }   // Login, Logout
    const std::uint8_t* bytes() const { return p_; }

  private:
    const std::uint8_t* p_;
};

// A whole received PDU. The spans are valid during the call that passes it.
struct Pdu {
    Bhs bhs;
    Bytes ahs;
    Bytes data;  // without padding; empty when it was discarded
    bool data_digest_ok = true;
    bool data_placed = false;  // data lies where PduSink::place_data said
};

// Writes a header in place. Starts all zero with the opcode and byte 1 set.
class BhsWriter {
  public:
    BhsWriter(std::uint8_t* bytes, Opcode opcode, std::uint8_t flags) : p_(bytes) {
        std::memset(p_, 0, kBhsBytes);
        p_[0] = static_cast<std::uint8_t>(opcode);
        p_[1] = flags;
    }
    BhsWriter& byte(std::size_t offset, std::uint8_t v) { return p_[offset] = v, *this; }
    BhsWriter& be16(std::size_t offset, std::uint16_t v) {
        return store_be16(p_ + offset, v), *this;
    }
    BhsWriter& be32(std::size_t offset, std::uint32_t v) {
        return store_be32(p_ + offset, v), *this;
    }
    BhsWriter& data_length(std::uint32_t v) { return store_be24(p_ + 5, v), *this; }
    BhsWriter& lun(std::uint64_t v) { return store_be64(p_ + 8, v), *this; }
    BhsWriter& itt(std::uint32_t v) { return be32(16, v); }
    BhsWriter& ttt(std::uint32_t v) { return be32(20, v); }
    BhsWriter& stat_sn(std::uint32_t v) { return be32(24, v); }
    BhsWriter& exp_cmd_sn(std::uint32_t v) { return be32(28, v); }
    BhsWriter& max_cmd_sn(std::uint32_t v) { return be32(32, v); }

  private:
    std::uint8_t* p_;
};

// Serial number arithmetic (RFC 1982, RFC 7143 4.2.2): is `a` before `b`?
inline bool sn_less(std::uint32_t a, std::uint32_t b) {
    return static_cast<std::int32_t>(a - b) < 0;
}

}  // namespace goldlink::iscsi
