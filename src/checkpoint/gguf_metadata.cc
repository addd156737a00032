// Values are widened as they are read (all integers to 64 bits, all floats to double); the type in
// the file only matters where the format fixes it (general.alignment).
#include "checkpoint/gguf_metadata.h"

#include <algorithm>
#include <array>
#include <bit>

#include "base/checked_math.h"
#include "base/strings.h"
#include "base/utf8.h"

namespace lserve {

namespace {

constexpr uint64_t kMaxStringBytes = 16 << 20;
constexpr uint64_t kMaxKeyBytes = 65535;
// Of all arrays together: three tables of the largest vocabularies and their merges fit twice.
constexpr uint64_t kMaxArrayElements = 4'000'000;
constexpr uint64_t kMaxAlignment = 1 << 20;

enum class ValueType : uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64
};
constexpr std::array<uint64_t, 13> kValueBytes = {1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8};

// Reads metadata values; keeps count of the array elements of the whole file.
class ValueReader {
 public:
  explicit ValueReader(ByteCursor& cursor) : cursor_(cursor) {}

  Result<GgufValue> read(ValueType type, const std::string& key) {
    switch (type) {
      case ValueType::kU8:
        return scalar<uint8_t, uint64_t>(key);
      case ValueType::kU16:
        return scalar<uint16_t, uint64_t>(key);
      case ValueType::kU32:
        return scalar<uint32_t, uint64_t>(key);
      case ValueType::kU64:
        return scalar<uint64_t, uint64_t>(key);
      case ValueType::kI8:
        return scalar<int8_t, int64_t>(key);
      case ValueType::kI16:
        return scalar<int16_t, int64_t>(key);
      case ValueType::kI32:
        return scalar<int32_t, int64_t>(key);
      case ValueType::kI64:
        return scalar<int64_t, int64_t>(key);
      case ValueType::kF32:
        return scalar<float, double>(key);
      case ValueType::kF64:
        return scalar<double, double>(key);
      case ValueType::kBool: {
        ASSIGN_OR_RETURN(const bool value, read_bool(key));
        return GgufValue{value};
      }
      case ValueType::kString: {
        ASSIGN_OR_RETURN(std::string text, cursor_.read_string(kMaxStringBytes, key));
        return GgufValue{std::move(text)};
      }
      case ValueType::kArray:
        return read_array(key);
    }
    return cursor_.error(key, cat("unknown value type ", static_cast<uint32_t>(type)));
  }

 private:
  Result<bool> read_bool(const std::string& key) {
    ASSIGN_OR_RETURN(const auto byte, cursor_.read<uint8_t>(key));
    if (byte > 1) return cursor_.error(key, cat("the bool is ", byte, ", neither 0 nor 1"));
    return byte == 1;
  }

  template <typename Stored, typename Widened>
  Result<GgufValue> scalar(const std::string& key) {
    ASSIGN_OR_RETURN(const Stored value, cursor_.read<Stored>(key));
    return GgufValue{static_cast<Widened>(value)};
  }

  Result<GgufValue> read_array(const std::string& key) {
    ASSIGN_OR_RETURN(const auto type, cursor_.read<uint32_t>(key));
    ASSIGN_OR_RETURN(const auto count, cursor_.read<uint64_t>(key));
    if (type >= kValueBytes.size()) {
      return cursor_.error(key, cat("unknown array element type ", type));
    }
    const auto element = static_cast<ValueType>(type);
    if (element == ValueType::kArray) return cursor_.error(key, "nested arrays are not allowed");
    if (count > cursor_.remaining() / kValueBytes[type]) {
      return cursor_.error(key, cat("an array of ", count, " elements, but the file has ",
                                    cursor_.remaining(), " bytes left (incomplete download?)"));
    }
    // count is below the file's size here, so the sum cannot wrap.
    num_elements_ += count;
    if (num_elements_ > kMaxArrayElements) {
      return cursor_.error(key, cat("more than ", kMaxArrayElements, " array elements in all"));
    }
    return read_elements(element, count, key);
  }

  Result<GgufValue> read_elements(ValueType element, uint64_t count, const std::string& key) {
    switch (element) {
      case ValueType::kU8:
        return integers<uint8_t>(count, key);
      case ValueType::kU16:
        return integers<uint16_t>(count, key);
      case ValueType::kU32:
        return integers<uint32_t>(count, key);
      case ValueType::kU64:
        return integers<uint64_t>(count, key);
      case ValueType::kI8:
        return integers<int8_t>(count, key);
      case ValueType::kI16:
        return integers<int16_t>(count, key);
      case ValueType::kI32:
        return integers<int32_t>(count, key);
      case ValueType::kI64:
        return integers<int64_t>(count, key);
      case ValueType::kF32:
        return floats<float>(count, key);
      case ValueType::kF64:
        return floats<double>(count, key);
      case ValueType::kBool: {
        std::vector<bool> list;
        for (uint64_t i = 0; i < count; ++i) {
          ASSIGN_OR_RETURN(const bool value, read_bool(key));
          list.push_back(value);
        }
        return GgufValue{std::move(list)};
      }
      default:
        break;
    }
    GgufValue::Strings list;
    for (uint64_t i = 0; i < count; ++i) {
      ASSIGN_OR_RETURN(std::string text, cursor_.read_string(kMaxStringBytes, key));
      list.push_back(std::move(text));
    }
    return GgufValue{std::move(list)};
  }

  template <typename Stored>
  Result<GgufValue> integers(uint64_t count, const std::string& key) {
    // Not reserved: elements grow up to eightfold in memory, so the file must really hold them.
    std::vector<int64_t> list;
    for (uint64_t i = 0; i < count; ++i) {
      ASSIGN_OR_RETURN(const Stored value, cursor_.read<Stored>(key));
      const auto wide = checked_cast<int64_t>(value);
      if (!wide) return cursor_.error(key, cat("element ", i, " exceeds 63 bits"));
      list.push_back(*wide);
    }
    return GgufValue{std::move(list)};
  }

  template <typename Stored>
  Result<GgufValue> floats(uint64_t count, const std::string& key) {
    std::vector<double> list;
    for (uint64_t i = 0; i < count; ++i) {
      ASSIGN_OR_RETURN(const Stored value, cursor_.read<Stored>(key));
      list.push_back(static_cast<double>(value));
    }
    return GgufValue{std::move(list)};
  }

  ByteCursor& cursor_;
  uint64_t num_elements_ = 0;
};

Result<uint64_t> checked_alignment(const ByteCursor& cursor, ValueType type,
                                   const GgufValue& value) {
  if (type != ValueType::kU32) return cursor.error("general.alignment", "must be a UINT32");
  const uint64_t alignment = std::get<uint64_t>(value.value);
  if (!std::has_single_bit(alignment) || alignment > kMaxAlignment) {
    return cursor.error("general.alignment", cat(alignment, " is no power of two up to 1 MiB"));
  }
  return alignment;
}

}  // namespace

Status check_gguf_name(const ByteCursor& cursor, const std::string& name, std::string_view what) {
  if (name.empty()) return cursor.error(what, "the name is empty");
  if (first_invalid_utf8(name)) return cursor.error(what, "the name is invalid UTF-8");
  return {};
}

Result<GgufMetadata> read_gguf_metadata(ByteCursor& cursor, uint64_t count) {
  GgufMetadata metadata;
  ValueReader values(cursor);
  for (uint64_t i = 0; i < count; ++i) {
    const std::string what = cat("metadata key ", i);
    ASSIGN_OR_RETURN(std::string key, cursor.read_string(kMaxKeyBytes, what));
    RETURN_IF_ERROR(check_gguf_name(cursor, key, what));
    ASSIGN_OR_RETURN(const auto type, cursor.read<uint32_t>(quoted(key)));
    ASSIGN_OR_RETURN(GgufValue value, values.read(static_cast<ValueType>(type), quoted(key)));
    if (key == "general.alignment") {
      ASSIGN_OR_RETURN(metadata.alignment,
                       checked_alignment(cursor, static_cast<ValueType>(type), value));
    }
    metadata.entries.emplace_back(std::move(key), std::move(value));
  }
  const auto key_of = [](const auto& entry) -> const std::string& { return entry.first; };
  std::ranges::sort(metadata.entries, {}, key_of);
  const auto twin = std::ranges::adjacent_find(metadata.entries, {}, key_of);
  if (twin != metadata.entries.end())
    return cursor.error(quoted(twin->first), "the key occurs twice");
  return metadata;
}

}  // namespace lserve
