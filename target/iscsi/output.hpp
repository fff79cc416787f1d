// OutputQueue: the PDUs of one connection that wait to be sent, as headers plus pointers to their
// data, so that a whole batch goes out by one sendmsg without copying data. One thread.
//
// An OutputPdu owns the buffer it names in `owned` and gives it back to the pool when its last
// byte has been sent, or when the queue is dropped.
#pragma once

#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "target/iscsi/buffer_pool.hpp"
#include "target/iscsi/pdu.hpp"

namespace goldlink::iscsi {

struct OutputPdu {
    static constexpr std::size_t kInlineBytes = 72;  // sense data with its length, padded

    OutputPdu* next = nullptr;
    const std::uint8_t* data = nullptr;
    std::uint32_t data_bytes = 0;
    std::uint16_t header_bytes = kBhsBytes;
    std::uint16_t tail_bytes = 0;  // padding and data digest
    bool lent = false;             // data is lent by the disk
    Buffer owned;
    std::array<std::uint8_t, kBhsBytes + kDigestBytes> header;
    std::array<std::uint8_t, 3 + kDigestBytes> tail;
    std::array<std::uint8_t, kInlineBytes> inline_data;

    std::size_t total_bytes() const { return std::size_t{header_bytes} + data_bytes + tail_bytes; }
};

// Free OutputPdus of one reactor.
class OutputPduPool {
  public:
    OutputPdu* take();
    void give(OutputPdu* pdu);

  private:
    static constexpr std::size_t kChunk = 64;
    std::vector<std::unique_ptr<OutputPdu[]>> chunks_;
    OutputPdu* free_ = nullptr;
};

class OutputQueue {
  public:
    static constexpr std::size_t kMaxHeaderBytes =
        kBhsBytes + kDigestBytes;  // of a PDU, or its tail

    OutputQueue(OutputPduPool& pdus, BufferPool& buffers) : pdus_(pdus), buffers_(buffers) {}
    ~OutputQueue() { clear(); }
    OutputQueue(const OutputQueue&) = delete;
    OutputQueue& operator=(const OutputQueue&) = delete;

    void set_digests(bool header, bool data) {
        header_digest_ = header;
        data_digest_ = data;
    }

    OutputPdu& make() { return *pdus_.take(); }
    // Sets DataSegmentLength, padding and digests, and queues it. `data` in the PDU must stay
    // valid until it is sent: it is inline_data, or in `owned`, or in the `owned` of a later PDU,
    // or lent by the disk, which is open as long as the session lives; the connection sends or
    // clears the queue before it lets the session go.
    void push(OutputPdu& pdu);

    // Fills at most `max` vectors from what is queued; returns how many.
    // `stop_at_large_lent`: not past where begins_with_large_lent() will be true.
    std::size_t gather(iovec* vectors, std::size_t max, bool stop_at_large_lent = false) const;
    // Whether the queue begins with so much of lent data that it is better not copied by sendmsg.
    bool begins_with_large_lent() const { return head_ != nullptr && is_large_lent(*head_); }
    // As gather, of such PDUs only, from the queue's begin. What of them is not lent is handed to
    // `keep(data, bytes)`, which returns where it lies.
    template <typename Keep>
    std::size_t gather_large_lent(iovec* vectors, std::size_t max, const Keep& keep) const;
    void sent(std::size_t bytes);
    void clear();

    bool empty() const { return head_ == nullptr; }
    std::size_t queued_bytes() const { return queued_bytes_; }
    std::size_t queued_pdus() const { return queued_pdus_; }

  private:
    static constexpr std::uint32_t kMinLargeBytes = 16 * 1024;

    static bool is_large_lent(const OutputPdu& pdu) {
        return pdu.lent && pdu.data_bytes >= kMinLargeBytes;
    }
    void drop_head();

    OutputPduPool& pdus_;
    BufferPool& buffers_;
    OutputPdu* head_ = nullptr;
    OutputPdu* tail_ = nullptr;
    std::size_t head_sent_bytes_ = 0;
    std::size_t queued_bytes_ = 0;
    std::size_t queued_pdus_ = 0;
    bool header_digest_ = false;
    bool data_digest_ = false;
};

template <typename Keep>
std::size_t OutputQueue::gather_large_lent(iovec* vectors, std::size_t max,
                                           const Keep& keep) const {
    std::size_t count = 0;
    std::size_t skip = head_sent_bytes_;
    const auto add = [&](const std::uint8_t* data, std::size_t bytes, bool lent) {
        const std::size_t skipped = std::min(skip, bytes);
        skip -= skipped;
        data += skipped;
        bytes -= skipped;
        if (bytes == 0) return;
        vectors[count++] = {const_cast<std::uint8_t*>(lent ? data : keep(data, bytes)), bytes};
    };
    for (const OutputPdu* pdu = head_; pdu != nullptr && is_large_lent(*pdu) && count + 3 <= max;
         pdu = pdu->next) {
        add(pdu->header.data(), pdu->header_bytes, false);
        add(pdu->data, pdu->data_bytes, true);
        add(pdu->tail.data(), pdu->tail_bytes, false);
    }
    return count;
}

}  // namespace goldlink::iscsi
