#include "target/iscsi/output.hpp"

#include <algorithm>

#include "common/check.hpp"
#include "target/iscsi/digest.hpp"

namespace goldlink::iscsi {

namespace {

// The first lines of each page of what will be copied, so that they come while the rest of the
// batch is executed: random reads find them in no near cache, and the processor follows by itself
// only once a copy has begun.
void prefetch(const std::uint8_t* data, std::size_t bytes) {
    constexpr std::size_t kPage = 4096, kBytes = 1024, kLine = 64;
    for (std::size_t page = 0; page < bytes; page += kPage)
        for (std::size_t at = page; at < std::min(bytes, page + kBytes); at += kLine)
            __builtin_prefetch(data + at);
}

}  // namespace

OutputPdu* OutputPduPool::take() {
    if (free_ == nullptr) {
        chunks_.push_back(std::make_unique<OutputPdu[]>(kChunk));
        for (std::size_t i = 0; i < kChunk; ++i) give(&chunks_.back()[i]);
    }
    OutputPdu* pdu = free_;
    free_ = pdu->next;
    pdu->data = nullptr;
    pdu->data_bytes = 0;
    pdu->lent = false;
    pdu->owned = {};
    return pdu;
}

void OutputPduPool::give(OutputPdu* pdu) {
    pdu->next = free_;
    free_ = pdu;
}

void OutputQueue::push(OutputPdu& pdu) {
    store_be24(pdu.header.data() + 5, pdu.data_bytes);
    pdu.header_bytes = kBhsBytes;
    if (header_digest_) {
        store_le32(pdu.header.data() + kBhsBytes, crc32c({pdu.header.data(), kBhsBytes}));
        pdu.header_bytes += kDigestBytes;
    }
    const std::size_t pad = padding(pdu.data_bytes);
    pdu.tail_bytes = static_cast<std::uint16_t>(pad);
    if (pdu.data_bytes > 0) {
        std::memset(pdu.tail.data(), 0, 3);
        if (data_digest_) {
            const std::uint32_t crc =
                Crc32c().add({pdu.data, pdu.data_bytes}).add({pdu.tail.data(), pad}).value();
            store_le32(pdu.tail.data() + pad, crc);
            pdu.tail_bytes = static_cast<std::uint16_t>(pad + kDigestBytes);
        }
    }
    if (pdu.lent && !is_large_lent(pdu)) prefetch(pdu.data, pdu.data_bytes);
    pdu.next = nullptr;
    (tail_ != nullptr ? tail_->next : head_) = &pdu;
    tail_ = &pdu;
    queued_bytes_ += pdu.total_bytes();
    ++queued_pdus_;
}

std::size_t OutputQueue::gather(iovec* vectors, std::size_t max, bool stop_at_large_lent) const {
    std::size_t count = 0;
    std::size_t skip = head_sent_bytes_;
    const auto add = [&](const std::uint8_t* data, std::size_t bytes) {
        if (skip >= bytes) {
            skip -= bytes;
            return;
        }
        vectors[count++] = {const_cast<std::uint8_t*>(data) + skip, bytes - skip};
        skip = 0;
    };
    for (const OutputPdu* pdu = head_; pdu != nullptr && count + 3 <= max; pdu = pdu->next) {
        if (stop_at_large_lent && is_large_lent(*pdu) && pdu != head_) break;
        add(pdu->header.data(), pdu->header_bytes);
        add(pdu->data, pdu->data_bytes);
        add(pdu->tail.data(), pdu->tail_bytes);
    }
    return count;
}

void OutputQueue::sent(std::size_t bytes) {
    CHECK(bytes <= queued_bytes_, "more was sent than queued");
    queued_bytes_ -= bytes;
    bytes += head_sent_bytes_;
    while (head_ != nullptr && bytes >= head_->total_bytes()) {
        bytes -= head_->total_bytes();
        drop_head();
    }
    head_sent_bytes_ = bytes;
}

void OutputQueue::clear() {
    while (head_ != nullptr) drop_head();
    head_sent_bytes_ = 0;
    queued_bytes_ = 0;
}

void OutputQueue::drop_head() {
    OutputPdu* pdu = head_;
    head_ = pdu->next;
    if (head_ == nullptr) tail_ = nullptr;
    --queued_pdus_;
    buffers_.give(pdu->owned);
    pdus_.give(pdu);
}

}  // namespace goldlink::iscsi
