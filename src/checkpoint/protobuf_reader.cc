#include "checkpoint/protobuf_reader.h"

#include "base/check.h"
#include "base/strings.h"

namespace lserve {

namespace {
// The wire types that are in use; 3 and 4, groups, have not been since protobuf 2.
enum WireType : uint64_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };
}  // namespace

ProtobufReader::ProtobufReader(std::string_view message, std::string where, size_t offset)
    : message_(message), where_(std::move(where)), offset_(offset) {}

Status ProtobufReader::error(std::string_view why) const {
  return model_error(cat(where_, ": ", why, " (at byte ", offset_ + position_, ")"));
}

std::optional<uint64_t> ProtobufReader::read_varint() {
  uint64_t value = 0;
  for (int shift = 0; shift < 64 && position_ < message_.size(); shift += 7) {
    const auto byte = static_cast<unsigned char>(message_[position_++]);
    value |= uint64_t{byte & 0x7FU} << shift;
    if (byte < 0x80) return value;
  }
  return std::nullopt;
}

std::optional<uint64_t> ProtobufReader::read_fixed(size_t bytes) {
  if (bytes > message_.size() - position_) return std::nullopt;
  uint64_t value = 0;
  for (size_t i = 0; i < bytes; ++i) {
    value |= uint64_t{static_cast<unsigned char>(message_[position_ + i])} << (8 * i);
  }
  position_ += bytes;
  return value;
}

Result<std::optional<ProtobufField>> ProtobufReader::next() {
  constexpr uint64_t kMaxFieldNumber = (1U << 29) - 1;
  if (position_ == message_.size()) return std::optional<ProtobufField>();
  const std::optional<uint64_t> tag = read_varint();
  if (!tag || *tag >> 3 == 0 || *tag >> 3 > kMaxFieldNumber) return error("no protobuf field");
  ProtobufField field;
  field.number = static_cast<uint32_t>(*tag >> 3);
  std::optional<uint64_t> value;
  switch (*tag & 7) {
    case kVarint:
    case kBytes:
      value = read_varint();
      break;
    case kFixed64:
      value = read_fixed(8);
      break;
    case kFixed32:
      value = read_fixed(4);
      break;
    default:
      return error(cat("protobuf field ", field.number, " has wire type ", *tag & 7));
  }
  if (!value) return error(cat("protobuf field ", field.number, " is cut off"));
  field.has_bytes = (*tag & 7) == kBytes;
  if (!field.has_bytes) {
    field.value = *value;
    return std::optional(field);
  }
  const size_t left = message_.size() - position_;
  if (*value > left) {
    return error(cat("protobuf field ", field.number, " has ", *value, " bytes, but ", left,
                     " are left (incomplete download?)"));
  }
  field.bytes = message_.substr(position_, *value);
  position_ += *value;
  return std::optional(field);
}

ProtobufReader ProtobufReader::enter(const ProtobufField& field, std::string_view name) const {
  CHECK(field.has_bytes);
  const auto start = static_cast<size_t>(field.bytes.data() - message_.data());
  return ProtobufReader(field.bytes, cat(where_, ": ", name), offset_ + start);
}

}  // namespace lserve
