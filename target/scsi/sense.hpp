// Sense codes used by the device server, under their names in SPC-4 Annex D, and the two ways a
// command fails: a check condition, or another status.
#pragma once

#include <cstdint>

#include "target/scsi/device.hpp"
#include "target/scsi/task.hpp"

namespace goldlink::scsi {

namespace sense {

constexpr Sense make(std::uint8_t key, std::uint8_t asc, std::uint8_t ascq) {
    Sense sense;
    sense.key = key;
    sense.asc = asc;
    sense.ascq = ascq;
    return sense;
}

inline constexpr Sense kNoSense = make(0x0, 0x00, 0x00);
inline constexpr Sense kMediumNotPresent = make(0x2, 0x3A, 0x00);
inline constexpr Sense kBecomingReady = make(0x2, 0x04, 0x00);  // not ready, cause not reportable
inline constexpr Sense kStartRequired = make(0x2, 0x04, 0x02);  // initializing command required
inline constexpr Sense kSanitizeInProgress = make(0x2, 0x04, 0x1B);
inline constexpr Sense kSanitizeFailed = make(0x3, 0x31, 0x03);
inline constexpr Sense kUnrecoveredReadError = make(0x3, 0x11, 0x00);
inline constexpr Sense kWriteError = make(0x3, 0x0C, 0x00);
inline constexpr Sense kParameterListLengthError = make(0x5, 0x1A, 0x00);
inline constexpr Sense kInvalidOperationCode = make(0x5, 0x20, 0x00);
inline constexpr Sense kLbaOutOfRange = make(0x5, 0x21, 0x00);
inline constexpr Sense kInvalidFieldInCdb = make(0x5, 0x24, 0x00);
inline constexpr Sense kLogicalUnitNotSupported = make(0x5, 0x25, 0x00);
inline constexpr Sense kInvalidFieldInParameterList = make(0x5, 0x26, 0x00);
inline constexpr Sense kTooManyTargetDescriptors = make(0x5, 0x26, 0x06);
inline constexpr Sense kUnsupportedTargetDescriptor = make(0x5, 0x26, 0x07);
inline constexpr Sense kTooManySegmentDescriptors = make(0x5, 0x26, 0x08);
inline constexpr Sense kUnsupportedSegmentDescriptor = make(0x5, 0x26, 0x09);
inline constexpr Sense kInlineDataLengthExceeded = make(0x5, 0x26, 0x0B);
inline constexpr Sense kOperationInProgress = make(0x5, 0x00, 0x16);
inline constexpr Sense kInvalidTokenOperation = make(0x5, 0x23, 0x00);
inline constexpr Sense kTokenUnknown = make(0x5, 0x23, 0x04);
inline constexpr Sense kTokenRevoked = make(0x5, 0x23, 0x06);
inline constexpr Sense kTokenExpired = make(0x5, 0x23, 0x07);
inline constexpr Sense kInvalidTokenLength = make(0x5, 0x23, 0x0A);
inline constexpr Sense kInvalidReleaseOfPersistentReservation = make(0x5, 0x26, 0x04);
inline constexpr Sense kCommandSequenceError = make(0x5, 0x2C, 0x00);
inline constexpr Sense kInvalidMessage = make(0x5, 0x49, 0x00);
inline constexpr Sense kMediumRemovalPrevented = make(0x5, 0x53, 0x02);
inline constexpr Sense kSavingParametersNotSupported = make(0x5, 0x39, 0x00);
inline constexpr Sense kInsufficientRegistrationResources = make(0x5, 0x55, 0x04);
// The data-out that the initiator announced is not what the command can take.
inline constexpr Sense kInvalidFieldInCommandInformationUnit = make(0x5, 0x0E, 0x03);
inline constexpr Sense kWriteProtected = make(0x7, 0x27, 0x00);
inline constexpr Sense kSpaceAllocationFailed = make(0x7, 0x27, 0x07);
inline constexpr Sense kInternalTargetFailure = make(0x4, 0x44, 0x00);
inline constexpr Sense kCopyAborted = make(0xA, 0x00, 0x00);
inline constexpr Sense kCopyTargetNotReachable = make(0xA, 0x0D, 0x02);
inline constexpr Sense kIncorrectCopyTargetType = make(0xA, 0x0D, 0x03);
inline constexpr Sense kUnexpectedInexactSegment = make(0xA, 0x26, 0x0A);
inline constexpr Sense kMiscompare = make(0xE, 0x1D, 0x00);

}  // namespace sense

// Ends a task with CHECK CONDITION; always returns Step::finished.
inline Step fail(Task& task, const Sense& sense) {
    task.status = Status::check_condition;
    task.sense = sense;
    task.data_in_length = 0;
    return Step::finished;
}

// INVALID FIELD IN CDB with a pointer to the byte (SPC-4 4.5.2.4.2).
inline Step fail_cdb_field(Task& task, std::uint16_t byte) {
    Sense sense = sense::kInvalidFieldInCdb;
    sense.has_field_pointer = true;
    sense.field_byte = byte;
    return fail(task, sense);
}

// INVALID FIELD IN PARAMETER LIST with a pointer to the byte.
inline Step fail_parameter_field(Task& task, std::uint16_t byte) {
    Sense sense = sense::kInvalidFieldInParameterList;
    sense.has_field_pointer = true;
    sense.field_in_cdb = false;
    sense.field_byte = byte;
    return fail(task, sense);
}

inline Step fail_status(Task& task, Status status) {
    task.status = status;
    task.data_in_length = 0;
    return Step::finished;
}

// What a disk's outcome means to the initiator; Outcome::ok must not be given.
Sense sense_of(disk::Outcome outcome);

}  // namespace goldlink::scsi
