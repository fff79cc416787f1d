// PduStream: cuts the byte stream of one connection into PDUs, verifies digests, and puts data
// segments where the layer above wants them. Pure.
//
// Whole PDUs are handed on in place, without a copy. A large data segment that has a place of its
// own is received straight into it: while direct_space() is not empty the caller reads from the
// socket into that span first. What is left of an unfinished PDU is kept here, bounded by
// max_data_segment.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "target/iscsi/pdu.hpp"

namespace goldlink::iscsi {

enum class FramingError : std::uint8_t {
    header_digest,  // RFC 7143 7.7: with ErrorRecoveryLevel 0 the connection must go
    data_too_long,  // DataSegmentLength over what we declared
};

class PduSink {
  public:
    struct Placement {
        std::uint8_t* data = nullptr;  // room for the whole data segment; null: the stream keeps it
        bool discard = false;          // nobody wants it; Pdu::data will be empty
    };

    virtual ~PduSink() = default;
    // The header is whole and its digest right; the data segment is not empty.
    virtual Placement place_data(Bhs bhs) = 0;
    // False: stop here for now; consume() returns and is called again with what it left.
    virtual bool receive(const Pdu& pdu) = 0;
    virtual void framing_error(FramingError error, Bhs bhs) = 0;  // the stream is dead afterwards
};

class PduStream {
  public:
    explicit PduStream(PduSink& sink) : sink_(sink) {}

    // Both are applied from the next PDU on.
    void set_digests(bool header, bool data) {
        header_digest_ = header;
        data_digest_ = data;
    }
    void set_max_data_segment(std::uint32_t bytes) { max_data_segment_ = bytes; }

    // Where the socket's next bytes belong, before any to consume(). Empty: nowhere special.
    MutableBytes direct_space();
    void direct_received(std::size_t bytes);

    // Takes bytes in order; returns how many. Fewer than given only after receive() returned false
    // or a framing error.
    std::size_t consume(Bytes staged);

    // The place of the data segment under way is no more: what is left of it is dropped, and its
    // PDU comes without data.
    void discard_data() { placement_ = {.data = nullptr, .discard = true}; }

    // The data segment under way is large: stage little, so that the next one is direct as well.
    bool expects_large_data() const { return last_data_length_ >= kLargeData; }
    bool failed() const { return failed_; }
    // A PDU has begun to arrive, and its rest has not.
    bool unfinished() const { return state_ == State::data || header_stored_ > 0; }

    static constexpr std::uint32_t kLargeData = 16 * 1024;

  private:
    enum class State : std::uint8_t { header, data };

    std::size_t header_bytes() const;
    std::size_t tail_bytes() const;
    bool begin_pdu(const std::uint8_t* header);
    std::size_t take_header(Bytes staged);
    std::size_t take_data(Bytes staged);
    bool finish_pdu(Bytes data, const std::uint8_t* tail);
    void fail(FramingError error);

    PduSink& sink_;
    bool header_digest_ = false;
    bool data_digest_ = false;
    bool failed_ = false;
    bool paused_ = false;
    State state_ = State::header;
    std::uint32_t max_data_segment_ = 8192;
    std::uint32_t last_data_length_ = 0;

    // The PDU under way.
    const std::uint8_t* header_ = nullptr;  // in the caller's bytes or in header_store_
    std::uint32_t data_length_ = 0;
    std::uint32_t data_received_ = 0;
    std::uint32_t tail_received_ = 0;
    PduSink::Placement placement_;
    std::uint32_t header_stored_ = 0;
    std::array<std::uint8_t, kBhsBytes + kMaxAhsBytes + kDigestBytes> header_store_{};
    std::array<std::uint8_t, 3 + kDigestBytes> tail_{};
    std::vector<std::uint8_t> kept_;  // a data segment without a place that came in pieces
};

}  // namespace goldlink::iscsi
