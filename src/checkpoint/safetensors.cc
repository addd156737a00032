// The header is parsed as strict JSON, then held against the file: dtype, shape and offsets must
// agree with each other, and the tensors must fill the data section without hole, overlap or tail.
// So there is one reading of the file only, and no room for a second file inside it.
#include "checkpoint/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <string_view>
#include <tuple>

#include "base/checked_math.h"
#include "base/json.h"
#include "base/strings.h"
#include "checkpoint/file_checks.h"

namespace lserve {

static_assert(std::endian::native == std::endian::little, "files are read as they are in memory");

namespace {

constexpr uint64_t kLengthBytes = 8;
constexpr uint64_t kMaxHeaderBytes = 100'000'000;
constexpr size_t kMaxTensors = 1 << 18;
constexpr size_t kMaxNameBytes = 512;
constexpr size_t kMaxRank = 8;
// A tensor is about eight values of JSON; depth 8 is twice what the format uses.
constexpr JsonLimits kJsonLimits = {.max_depth = 8, .max_elements = 3'000'000};

struct SafetensorsType {
  std::string_view name;
  uint64_t bits;
  std::optional<WeightFormat> format;
};
constexpr std::array<SafetensorsType, 20> kTypes = {{
    {"F32", 32, WeightFormat::kF32},   {"F16", 16, WeightFormat::kF16},
    {"BF16", 16, WeightFormat::kBF16}, {"BOOL", 8, std::nullopt},
    {"U8", 8, std::nullopt},           {"I8", 8, std::nullopt},
    {"U16", 16, std::nullopt},         {"I16", 16, std::nullopt},
    {"U32", 32, std::nullopt},         {"I32", 32, std::nullopt},
    {"U64", 64, std::nullopt},         {"I64", 64, std::nullopt},
    {"F64", 64, std::nullopt},         {"C64", 64, std::nullopt},
    {"F8_E4M3", 8, std::nullopt},      {"F8_E5M2", 8, std::nullopt},
    {"F8_E8M0", 8, std::nullopt},      {"F4", 4, std::nullopt},
    {"F6_E2M3", 6, std::nullopt},      {"F6_E3M2", 6, std::nullopt},
}};

const SafetensorsType* find_type(std::string_view name) {
  const auto* at = std::ranges::find(kTypes, name, &SafetensorsType::name);
  return at == kTypes.end() ? nullptr : at;
}

// The text of the header, and where it is in the file.
struct Header {
  std::string text;
  uint64_t data_start = 0;
};

// The reader of base/json.h takes "-0" for 0. No number of a header is ever negative.
std::optional<size_t> find_minus_outside_strings(std::string_view text) {
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '"') in_string = !in_string;
    if (text[i] == '\\' && in_string) ++i;
    if (text[i] == '-' && !in_string) return i;
  }
  return std::nullopt;
}

Result<Header> read_header(const File& file) {
  const auto fail = [&](const auto&... why) { return model_error(cat(file.path(), ": ", why...)); };
  if (file.size() < kLengthBytes) {
    return fail(file.size(), " bytes are too few for safetensors (incomplete download?)");
  }
  std::array<std::byte, kLengthBytes> length_bytes{};
  RETURN_IF_ERROR(file.read_at(0, length_bytes));
  const auto length = std::bit_cast<uint64_t>(length_bytes);
  if (length > kMaxHeaderBytes) {
    return fail("header length: ", length, " bytes, at most ", kMaxHeaderBytes,
                " are allowed (no safetensors file?)");
  }
  Header header;
  header.data_start = kLengthBytes + length;
  if (header.data_start > file.size()) {
    return fail("header length: file ends at ", file.size(), " bytes, the header promises ",
                header.data_start, " (incomplete download?)");
  }
  header.text.resize(length);
  RETURN_IF_ERROR(file.read_at(kLengthBytes, std::as_writable_bytes(std::span(header.text))));
  if (header.text.empty() || header.text.front() != '{') {
    return fail("header: does not begin with \"{\" (at byte ", kLengthBytes, ")");
  }
  if (const auto at = find_minus_outside_strings(header.text)) {
    return fail("header: a negative number (at byte ", kLengthBytes + *at, ")");
  }
  return header;
}

// Reads the members of one tensor; `end` bytes are the whole data section.
class EntryReader {
 public:
  EntryReader(const std::string& path, uint64_t data_start)
      : path_(path), data_start_(data_start) {}

  Result<SafetensorsEntry> read(const std::string& name, const Json& value) const {
    if (name.empty() || name.size() > kMaxNameBytes) {
      return fail(name, cat("the name has ", name.size(), " bytes, 1 to 512 are allowed"));
    }
    if (!value.is_object()) return fail(name, "is no JSON object");
    SafetensorsEntry entry;
    entry.name = name;
    for (const auto& [key, member] : value.as_object()) {
      if (key != "dtype" && key != "shape" && key != "data_offsets") {
        return fail(name, cat("unknown member ", quoted(key)));
      }
    }
    const Json* dtype = value.find("dtype");
    if (dtype == nullptr || !dtype->is_string()) return fail(name, "dtype: no string");
    const SafetensorsType* type = find_type(dtype->as_string());
    if (type == nullptr) {
      return fail(name, cat("dtype: ", quoted(dtype->as_string()), " is unknown"));
    }
    entry.dtype = type->name;
    entry.format = type->format;
    ASSIGN_OR_RETURN(entry.shape, integers(name, "shape", value, kMaxRank));
    ASSIGN_OR_RETURN(const auto offsets, integers(name, "data_offsets", value, 2));
    if (offsets.size() != 2 || offsets[1] < offsets[0]) {
      return fail(name, "data_offsets: not [begin, end] with begin <= end");
    }
    entry.bytes = static_cast<uint64_t>(offsets[1] - offsets[0]);
    entry.offset = data_start_ + static_cast<uint64_t>(offsets[0]);
    RETURN_IF_ERROR(check_bytes(entry, type->bits));
    return entry;
  }

  Status fail(const std::string& name, std::string_view why) const {
    return model_error(cat(path_, ": tensor ", quoted(name), ": ", why));
  }

 private:
  Result<std::vector<int64_t>> integers(const std::string& name, const char* key, const Json& entry,
                                        size_t max_count) const {
    const Json* list = entry.find(key);
    if (list == nullptr || !list->is_array()) return fail(name, cat(key, ": no array"));
    if (list->as_array().size() > max_count) {
      return fail(name, cat(key, ": ", list->as_array().size(), " numbers, at most ", max_count));
    }
    std::vector<int64_t> values;
    for (const Json& value : list->as_array()) {
      if (!value.is_int() || value.as_int() < 0) {
        return fail(name, cat(key, ": ", quoted(value.dump()), " is no non-negative integer"));
      }
      values.push_back(value.as_int());
    }
    return values;
  }

  Status check_bytes(const SafetensorsEntry& entry, uint64_t bits) const {
    // In bits, since some types are smaller than a byte. A product that passed 0 stays 0.
    std::optional<uint64_t> total = bits;
    for (const int64_t dim : entry.shape) {
      total = checked_mul(*total, static_cast<uint64_t>(dim));
      if (!total) return fail(entry.name, "shape: the size overflows 64 bits");
    }
    if (*total % 8 != 0) return fail(entry.name, "shape: the size is no whole number of bytes");
    if (*total / 8 != entry.bytes) {
      return fail(entry.name,
                  cat("data_offsets: ", entry.bytes, " bytes, shape and dtype need ", *total / 8));
    }
    return {};
  }

  const std::string& path_;
  uint64_t data_start_;
};

Status check_metadata(const std::string& path, const Json& metadata) {
  const bool is_object = metadata.is_object();
  const bool strings_only =
      is_object && std::ranges::all_of(metadata.as_object(), [](const auto& member) {
        return member.second.is_string();
      });
  if (strings_only) return {};
  return model_error(cat(path, ": __metadata__: not an object of strings"));
}

// In the order of their data they must fill the file: no hole, no overlap, no tail.
Status check_layout(const EntryReader& reader, const File& file, uint64_t data_start,
                    std::vector<SafetensorsEntry>& entries) {
  std::ranges::sort(entries, {}, [](const SafetensorsEntry& entry) {
    return std::tuple(entry.offset, entry.bytes);
  });
  // Empty tensors may share their offset with a neighbour: they sort before it.
  uint64_t end = data_start;
  for (const SafetensorsEntry& entry : entries) {
    if (entry.offset != end) {
      return reader.fail(entry.name, cat("data_offsets: begins at byte ", entry.offset - data_start,
                                         ", the tensor before it ends at ", end - data_start));
    }
    end = entry.offset + entry.bytes;
  }
  if (end > file.size()) {
    return model_error(cat(file.path(), ": file ends at ", file.size(), " bytes, header promises ",
                           end, " (incomplete download?)"));
  }
  if (end < file.size()) {
    return model_error(cat(file.path(), ": ", file.size() - end,
                           " bytes follow the last tensor, which ends at byte ", end));
  }
  return {};
}

}  // namespace

Result<Safetensors> Safetensors::open(const std::string& path) {
  ASSIGN_OR_RETURN(File file, File::open(path));
  RETURN_IF_ERROR(check_not_lfs_pointer(file));
  ASSIGN_OR_RETURN(const Header header, read_header(file));
  ASSIGN_OR_RETURN(const Json root, Json::parse(header.text, cat(path, ": header"), kJsonLimits));
  if (!root.is_object()) return model_error(cat(path, ": header: no JSON object"));
  if (root.as_object().size() > kMaxTensors) {
    return model_error(cat(path, ": header: ", root.as_object().size(), " tensors, at most ",
                           kMaxTensors, " are allowed"));
  }
  const EntryReader reader(path, header.data_start);
  std::vector<SafetensorsEntry> entries;
  for (const auto& [name, value] : root.as_object()) {
    if (name == "__metadata__") {
      RETURN_IF_ERROR(check_metadata(path, value));
      continue;
    }
    ASSIGN_OR_RETURN(SafetensorsEntry entry, reader.read(name, value));
    entries.push_back(std::move(entry));
  }
  RETURN_IF_ERROR(check_layout(reader, file, header.data_start, entries));
  return Safetensors(std::move(file), std::move(entries));
}

}  // namespace lserve
