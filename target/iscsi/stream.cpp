#include "target/iscsi/stream.hpp"

#include <algorithm>

#include "common/check.hpp"
#include "target/iscsi/digest.hpp"

namespace goldlink::iscsi {

namespace {

constexpr std::size_t kKeptToRetain = 16 * 1024;  // more is given back after use

}  // namespace

MutableBytes PduStream::direct_space() {
    if (state_ != State::data || placement_.data == nullptr) return {};
    return {placement_.data + data_received_, data_length_ - data_received_};
}

void PduStream::direct_received(std::size_t bytes) {
    CHECK(bytes <= direct_space().size(), "more bytes than direct_space() offered");
    data_received_ += static_cast<std::uint32_t>(bytes);
}

std::size_t PduStream::consume(Bytes staged) {
    const std::size_t offered = staged.size();
    paused_ = false;
    while (!failed_ && !paused_) {
        const std::size_t used = state_ == State::header ? take_header(staged) : take_data(staged);
        staged = staged.subspan(used);
        if (staged.empty()) break;
    }
    return offered - staged.size();
}

// Of the header under way, as far as its first bytes say.
std::size_t PduStream::header_bytes() const {
    const std::size_t ahs = header_stored_ >= 5 ? std::size_t{header_store_[4]} * 4 : 0;
    return kBhsBytes + ahs + (header_digest_ ? kDigestBytes : 0);
}

std::size_t PduStream::tail_bytes() const {
    if (data_length_ == 0) return 0;
    return padding(data_length_) + (data_digest_ ? kDigestBytes : 0);
}

std::size_t PduStream::take_header(Bytes staged) {
    const std::size_t digest = header_digest_ ? kDigestBytes : 0;
    if (header_stored_ == 0 && staged.size() >= kBhsBytes) {
        const std::size_t whole = kBhsBytes + std::size_t{staged[4]} * 4 + digest;
        if (staged.size() >= whole) {
            if (!begin_pdu(staged.data())) return 0;
            std::size_t used = whole;
            if (data_length_ == 0) {
                finish_pdu({}, nullptr);
                return used;
            }
            // Finish a PDU that is here whole while its header is still in the caller's bytes.
            const std::size_t rest = staged.size() - whole;
            if (rest >= data_length_ + tail_bytes()) return used + take_data(staged.subspan(used));
            std::memcpy(header_store_.data(), staged.data(), whole);
            header_ = header_store_.data();
            if (rest > 0) used += take_data(staged.subspan(used));
            return used;
        }
    }
    std::size_t used = 0;
    while (header_stored_ < header_bytes() && used < staged.size()) {
        // In two steps: the fifth byte says how long the header is.
        const std::size_t until = header_stored_ < 5 ? 5 : header_bytes();
        const std::size_t step = std::min(until - header_stored_, staged.size() - used);
        std::memcpy(header_store_.data() + header_stored_, staged.data() + used, step);
        header_stored_ += static_cast<std::uint32_t>(step);
        used += step;
    }
    if (header_stored_ == header_bytes() && begin_pdu(header_store_.data()) && data_length_ == 0)
        finish_pdu({}, nullptr);
    return used;
}

// A whole header: verifies it and finds its data segment a place.
bool PduStream::begin_pdu(const std::uint8_t* header) {
    header_ = header;
    const Bhs bhs(header);
    if (header_digest_) {
        const std::size_t covered = kBhsBytes + bhs.ahs_bytes();
        if (crc32c({header, covered}) != load_le32(header + covered)) {
            fail(FramingError::header_digest);
            return false;
        }
    }
    data_length_ = bhs.data_length();
    data_received_ = 0;
    tail_received_ = 0;
    last_data_length_ = data_length_;
    placement_ = {};
    if (data_length_ > max_data_segment_) {
        fail(FramingError::data_too_long);
        return false;
    }
    if (data_length_ > 0) {
        placement_ = sink_.place_data(bhs);
        state_ = State::data;
    }
    return true;
}

std::size_t PduStream::take_data(Bytes staged) {
    const std::size_t missing = data_length_ - data_received_;
    const std::size_t tail = tail_bytes();
    const bool keeps = placement_.data == nullptr && !placement_.discard;
    if (keeps && data_received_ == 0 && staged.size() >= missing + tail) {
        finish_pdu(staged.first(missing), staged.data() + missing);
        return missing + tail;
    }
    std::size_t used = std::min(missing, staged.size());
    if (used > 0) {
        if (keeps)
            kept_.insert(kept_.end(), staged.data(), staged.data() + used);
        else if (!placement_.discard)
            std::memcpy(placement_.data + data_received_, staged.data(), used);
        data_received_ += static_cast<std::uint32_t>(used);
    }
    if (data_received_ < data_length_) return used;
    const std::size_t step = std::min(tail - tail_received_, staged.size() - used);
    if (step > 0) std::memcpy(tail_.data() + tail_received_, staged.data() + used, step);
    tail_received_ += static_cast<std::uint32_t>(step);
    used += step;
    if (tail_received_ == tail) {
        const Bytes data = placement_.discard ? Bytes()
                           : keeps            ? Bytes(kept_)
                                              : Bytes(placement_.data, data_length_);
        finish_pdu(data, tail_.data());
    }
    return used;
}

bool PduStream::finish_pdu(Bytes data, const std::uint8_t* tail) {
    const Bhs bhs(header_);
    Pdu pdu{.bhs = bhs,
            .ahs = {header_ + kBhsBytes, bhs.ahs_bytes()},
            .data = data,
            .data_placed = placement_.data != nullptr};
    if (data_digest_ && !data.empty()) {
        const std::size_t pad = padding(data.size());
        pdu.data_digest_ok = Crc32c().add(data).add({tail, pad}).value() == load_le32(tail + pad);
    }
    state_ = State::header;
    header_stored_ = 0;
    paused_ = !sink_.receive(pdu);
    kept_.clear();
    if (kept_.capacity() > kKeptToRetain) kept_ = {};
    return !paused_;
}

void PduStream::fail(FramingError error) {
    failed_ = true;
    sink_.framing_error(error, Bhs(header_));
}

}  // namespace goldlink::iscsi
