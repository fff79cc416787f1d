#include "target/scsi/rod_tokens.hpp"

#include <algorithm>

#include "common/check.hpp"
#include "target/scsi/logical_unit.hpp"
#include "target/scsi/sense.hpp"

namespace goldlink::scsi {

namespace {

// SPC-4 table 113, the fields of a ROD token.
enum TokenOffset : std::size_t {
    kTypeAt = 0,
    kLengthAt = 6,
    kIdentifierAt = 8,
    kCreatorAt = 16,
    kBytesRepresentedAt = 48,    // 16 bytes, of which the lower 8 are enough
    kDeviceTypeSpecificAt = 96,  // SBC-3 6.7: as READ CAPACITY (16) answers, from byte 8
    kExtendedDataAt = 128,
};
constexpr std::size_t kSecretBytes = 64;

// In a time that does not depend on where they differ.
bool equal(const std::array<std::uint8_t, kRodTokenBytes>& known, Bytes given) {
    std::uint8_t difference = 0;
    for (std::size_t i = 0; i < kRodTokenBytes; ++i)
        difference = static_cast<std::uint8_t>(difference | (known[i] ^ given[i]));
    return difference == 0;
}

}  // namespace

void put_identification_descriptor(const LogicalUnit& unit, std::uint8_t* out32) {
    constexpr std::uint8_t kIdentification = 0xE4;
    constexpr std::uint8_t kBinary = 0x01;
    constexpr std::uint8_t kNaaOfLogicalUnit = 0x03;
    std::fill_n(out32, 32, std::uint8_t{0});
    out32[0] = kIdentification;
    out32[4] = kBinary;
    out32[5] = kNaaOfLogicalUnit;
    out32[7] = 8;
    store_be64(out32 + 8, unit.identity.naa);
    store_be24(out32 + 29, unit.block_bytes());
}

const RodToken& RodTokens::make(LogicalUnit& source, std::vector<ByteRange> ranges,
                                std::uint32_t inactivity_seconds) {
    expire();
    if (tokens_.size() >= kMaxTokens)
        drop(std::ranges::min_element(tokens_, {}, &RodToken::used_ms));
    RodToken& token = tokens_.emplace_back();
    token.id = ++last_id_;
    token.source = &source;
    token.ranges = std::move(ranges);
    token.around = token.ranges.empty() ? ByteRange{} : token.ranges.front();
    for (const ByteRange& range : token.ranges) {
        const std::uint64_t end = std::max(token.around.end_bytes(), range.end_bytes());
        token.around.offset_bytes = std::min(token.around.offset_bytes, range.offset_bytes);
        token.around.length_bytes = end - token.around.offset_bytes;
        token.length_bytes += range.length_bytes;
    }
    token.inactivity_ms = std::uint64_t{inactivity_seconds} * 1000;
    token.made_ms = token.used_ms = seams_.now_ms();

    std::uint8_t* raw = token.bytes.data();
    store_be32(raw + kTypeAt, kRodTypeChangeVulnerable);
    store_be16(raw + kLengthAt, kRodTokenLengthField);
    store_be64(raw + kIdentifierAt, token.id);
    put_identification_descriptor(source, raw + kCreatorAt);
    store_be64(raw + kBytesRepresentedAt + 8, token.length_bytes);
    store_be32(raw + kDeviceTypeSpecificAt, source.block_bytes());
    raw[kDeviceTypeSpecificAt + 5] = static_cast<std::uint8_t>(source.physical_exponent);
    seams_.fill_random(MutableBytes(raw + kExtendedDataAt, kSecretBytes));
    ++source.rod_tokens;
    return token;
}

bool RodTokens::use(RodToken* token, Sense& why) {
    if (token == nullptr || token->state != RodToken::State::valid) {
        why = token == nullptr                           ? sense::kTokenUnknown
              : token->state == RodToken::State::expired ? sense::kTokenExpired
                                                         : sense::kTokenRevoked;
        return false;
    }
    token->used_ms = seams_.now_ms();
    return true;
}

const RodToken* RodTokens::use(Bytes given, Sense& why) {
    CHECK(given.size() == kRodTokenBytes, "a ROD token has 512 bytes");
    expire();
    const auto it = std::ranges::find_if(
        tokens_, [&](const RodToken& known) { return equal(known.bytes, given); });
    RodToken* token = it == tokens_.end() ? nullptr : &*it;
    return use(token, why) ? token : nullptr;
}

bool RodTokens::still_valid(std::uint64_t id, Sense& why) {
    const auto it = std::ranges::find(tokens_, id, &RodToken::id);
    return use(it == tokens_.end() ? nullptr : &*it, why);
}

const RodToken* RodTokens::find(std::uint64_t id) {
    expire();
    const auto it = std::ranges::find(tokens_, id, &RodToken::id);
    return it == tokens_.end() || it->state != RodToken::State::valid ? nullptr : &*it;
}

void RodTokens::remove(std::uint64_t id) {
    const auto it = std::ranges::find(tokens_, id, &RodToken::id);
    if (it != tokens_.end()) drop(it);
}

void RodTokens::source_changes(LogicalUnit& unit, const ByteRange& range) {
    for (RodToken& token : tokens_) {
        if (token.source != &unit || token.state != RodToken::State::valid ||
            !token.around.overlaps(range))
            continue;
        if (std::ranges::any_of(token.ranges,
                                [&](const ByteRange& each) { return each.overlaps(range); }))
            end(token, RodToken::State::revoked);
    }
}

// What is left of it says why it is refused, until it makes room.
void RodTokens::end(RodToken& token, RodToken::State state) {
    if (token.state == RodToken::State::valid) --token.source->rod_tokens;
    token.state = state;
    token.ranges = {};
}

void RodTokens::drop(std::list<RodToken>::iterator token) {
    end(*token, RodToken::State::expired);
    tokens_.erase(token);
}

void RodTokens::expire() {
    const std::uint64_t now = seams_.now_ms();
    for (RodToken& token : tokens_)
        if (token.state == RodToken::State::valid &&
            (now - token.used_ms > token.inactivity_ms ||
             now - token.made_ms > std::uint64_t{kMaxLifetimeSeconds} * 1000))
            end(token, RodToken::State::expired);
}

}  // namespace goldlink::scsi
