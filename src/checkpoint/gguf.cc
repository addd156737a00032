// The header is walked once, front to back. Nothing in it is believed before it is compared with
// the bytes that are there: counts with the smallest records, sizes by checked arithmetic, offsets
// with the running sum that the format prescribes. So no promise of the file can make us allocate
// more than a small multiple of what it really holds.
#include "checkpoint/gguf.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "base/checked_math.h"
#include "base/strings.h"
#include "checkpoint/byte_cursor.h"
#include "checkpoint/file_checks.h"
#include "checkpoint/ggml_type.h"
#include "checkpoint/gguf_metadata.h"

namespace lserve {

static_assert(std::endian::native == std::endian::little, "files are read as they are in memory");

namespace {

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // as for safetensors
constexpr uint64_t kMaxNameBytes = 63;
// Records are larger in memory than in the file, hence limits below what a header could hold.
constexpr uint64_t kMaxTensors = 1 << 18;
constexpr uint64_t kMaxMetadata = 1 << 16;
// The smallest records: what a promised count needs of the rest of the file.
constexpr uint64_t kMinMetadataBytes = 8 + 1 + 4 + 1;
constexpr uint64_t kMinTensorBytes = 8 + 1 + 4 + 8 + 4 + 8;

struct Preamble {
  uint32_t version = 0;
  uint64_t num_tensors = 0;
  uint64_t num_metadata = 0;
};

// By its first bytes: the length of a JSON text, and the brace that opens it.
bool is_like_safetensors(std::array<char, 4> magic, ByteCursor& cursor) {
  const Result<uint32_t> upper_length = cursor.read<uint32_t>("header length");
  if (!upper_length.ok() || *upper_length != 0) return false;
  const Result<char> brace = cursor.read<char>("header");
  return brace.ok() && *brace == '{' && std::bit_cast<uint32_t>(magic) <= kMaxHeaderBytes;
}

Status wrong_magic(ByteCursor& cursor, std::array<char, 4> magic) {
  const std::string_view text(magic.data(), magic.size());
  if (text == "FUGG") return cursor.error("magic", "byte-swapped (big-endian) GGUF is not read");
  if (text == "lmgg" || text == "fmgg" || text == "tjgg") {
    return cursor.error("magic", "a GGML file older than GGUF; convert the model again");
  }
  if (is_like_safetensors(magic, cursor)) {
    return cursor.error("magic",
                        "this looks like safetensors, not GGUF: give the directory that holds it "
                        "and config.json, not the file");
  }
  return cursor.error("magic", cat(quoted(text),
                                   " is not \"GGUF\": no GGUF file (for safetensors, name the "
                                   "directory that holds config.json)"));
}

Result<Preamble> read_preamble(ByteCursor& cursor) {
  std::array<char, 4> magic{};
  RETURN_IF_ERROR(cursor.read_bytes(std::as_writable_bytes(std::span(magic)), "magic"));
  if (std::string_view(magic.data(), 4) != "GGUF") return wrong_magic(cursor, magic);
  Preamble preamble;
  ASSIGN_OR_RETURN(preamble.version, cursor.read<uint32_t>("version"));
  // In the other byte order a small version has its bits at the top.
  if (preamble.version != 0 && (preamble.version & 0xFFFF) == 0) {
    return cursor.error("version", "byte-swapped (big-endian) GGUF is not read");
  }
  if (preamble.version < 2 || preamble.version > 3) {
    return cursor.error("version", cat(preamble.version, " is not supported (supported: 2, 3)"));
  }
  ASSIGN_OR_RETURN(preamble.num_tensors, cursor.read<uint64_t>("tensor count"));
  ASSIGN_OR_RETURN(preamble.num_metadata, cursor.read<uint64_t>("metadata count"));
  const uint64_t rest = cursor.remaining();
  if (preamble.num_tensors > std::min(kMaxTensors, rest / kMinTensorBytes)) {
    return cursor.error("tensor count", cat(preamble.num_tensors, " do not fit the ", rest,
                                            " bytes that follow, or exceed ", kMaxTensors));
  }
  if (preamble.num_metadata > std::min(kMaxMetadata, rest / kMinMetadataBytes)) {
    return cursor.error("metadata count", cat(preamble.num_metadata, " do not fit the ", rest,
                                              " bytes that follow, or exceed ", kMaxMetadata));
  }
  return preamble;
}

// The bytes of a tensor; empty if a product overflows.
std::optional<uint64_t> tensor_bytes(const GgmlType& type, const std::vector<uint64_t>& dims) {
  std::optional<uint64_t> bytes = checked_mul(dims[0] / type.block_columns, type.block_bytes);
  // Elements are counted too: with a zero dimension the bytes alone would hide an overflow.
  std::optional<uint64_t> elements = dims[0];
  for (size_t i = 1; i < dims.size(); ++i) {
    if (!bytes || !elements) return std::nullopt;
    bytes = checked_mul(*bytes, dims[i]);
    elements = checked_mul(*elements, dims[i]);
  }
  const bool fits = bytes && elements && *elements <= static_cast<uint64_t>(INT64_MAX);
  return fits ? bytes : std::nullopt;
}

// One record of the table; its offset is still relative to the data section.
Result<GgufTensor> read_tensor_record(ByteCursor& cursor, uint64_t index) {
  GgufTensor tensor;
  const std::string number = cat("tensor ", index);
  ASSIGN_OR_RETURN(tensor.name, cursor.read_string(kMaxNameBytes, number));
  RETURN_IF_ERROR(check_gguf_name(cursor, tensor.name, number));
  const std::string what = cat("tensor ", quoted(tensor.name));
  ASSIGN_OR_RETURN(const auto rank, cursor.read<uint32_t>(what));
  if (rank < 1 || rank > 4) return cursor.error(what, cat(rank, " dimensions, 1 to 4 expected"));
  for (uint32_t i = 0; i < rank; ++i) {
    ASSIGN_OR_RETURN(const auto dim, cursor.read<uint64_t>(what));
    if (dim > static_cast<uint64_t>(INT64_MAX)) {
      return cursor.error(what, cat("dimension ", i, " is negative or too large"));
    }
    tensor.dims.push_back(dim);
  }
  ASSIGN_OR_RETURN(tensor.type, cursor.read<uint32_t>(what));
  const GgmlType* type = find_ggml_type(tensor.type);
  if (type == nullptr) return cursor.error(what, cat("unknown ggml type ", tensor.type));
  if (tensor.dims[0] % type->block_columns != 0) {
    return cursor.error(what, cat("rows of ", tensor.dims[0], " columns are no multiple of the ",
                                  type->block_columns, " of a ", type->name, " block"));
  }
  const std::optional<uint64_t> bytes = tensor_bytes(*type, tensor.dims);
  if (!bytes) return cursor.error(what, "the size overflows 64 bits");
  tensor.bytes = *bytes;
  ASSIGN_OR_RETURN(tensor.offset, cursor.read<uint64_t>(what));
  return tensor;
}

Status check_unique_names(const ByteCursor& cursor, const std::vector<GgufTensor>& tensors) {
  std::vector<std::string_view> names;
  for (const GgufTensor& tensor : tensors) names.push_back(tensor.name);
  std::ranges::sort(names);
  const auto twin = std::ranges::adjacent_find(names);
  if (twin == names.end()) return {};
  return cursor.error(cat("tensor ", quoted(*twin)), "the name occurs twice");
}

// Each tensor must begin where the one before it ends, rounded up; makes the offsets absolute.
Status place_tensors(const ByteCursor& cursor, uint64_t alignment, uint64_t file_size,
                     std::vector<GgufTensor>& tensors) {
  std::optional<uint64_t> next = checked_round_up(cursor.position(), alignment);
  const uint64_t data_start = next.value_or(0);
  for (GgufTensor& tensor : tensors) {
    const std::string what = cat("tensor ", quoted(tensor.name));
    const std::optional<uint64_t> start = checked_add(data_start, tensor.offset);
    if (!next || start != next) {
      return cursor.error(what, cat("data offset ", tensor.offset,
                                    " does not follow the tensor before it (expected ",
                                    next ? *next - data_start : 0, ")"));
    }
    const std::optional<uint64_t> end = checked_add(*start, tensor.bytes);
    if (!end || *end > file_size) {
      return cursor.error(what,
                          cat("the file ends at byte ", file_size, ", its data need ", tensor.bytes,
                              " bytes from byte ", *start, " (incomplete download?)"));
    }
    tensor.offset = *start;
    next = checked_round_up(*end, alignment);
  }
  return {};
}

const char* type_name(const GgufValue& value) {
  static constexpr std::array<const char*, 9> kNames = {"an unsigned integer",
                                                        "an integer",
                                                        "a float",
                                                        "a bool",
                                                        "a string",
                                                        "an integer array",
                                                        "an array of floats",
                                                        "an array of bools",
                                                        "an array of strings"};
  return kNames[value.value.index()];
}

}  // namespace

Result<Gguf> Gguf::open(const std::string& path) {
  ASSIGN_OR_RETURN(File file, File::open(path));
  RETURN_IF_ERROR(check_not_lfs_pointer(file));
  std::vector<GgufTensor> tensors;
  ByteCursor cursor(file, std::min(file.size(), kMaxHeaderBytes));
  ASSIGN_OR_RETURN(const Preamble preamble, read_preamble(cursor));
  ASSIGN_OR_RETURN(GgufMetadata metadata, read_gguf_metadata(cursor, preamble.num_metadata));
  for (uint64_t i = 0; i < preamble.num_tensors; ++i) {
    ASSIGN_OR_RETURN(GgufTensor tensor, read_tensor_record(cursor, i));
    tensors.push_back(std::move(tensor));
  }
  RETURN_IF_ERROR(check_unique_names(cursor, tensors));
  RETURN_IF_ERROR(place_tensors(cursor, metadata.alignment, file.size(), tensors));

  Gguf gguf(std::move(file));
  gguf.version_ = preamble.version;
  gguf.metadata_ = std::move(metadata.entries);
  gguf.tensors_ = std::move(tensors);
  return gguf;
}

const GgufValue* Gguf::find(std::string_view key) const {
  const auto at =
      std::lower_bound(metadata_.begin(), metadata_.end(), key,
                       [](const auto& entry, std::string_view k) { return entry.first < k; });
  return at != metadata_.end() && at->first == key ? &at->second : nullptr;
}

Status Gguf::wrong_type(std::string_view key, std::string_view expected) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return model_error(cat(file_.path(), ": ", key, ": the key is missing"));
  return model_error(
      cat(file_.path(), ": ", key, ": is ", type_name(*value), ", expected ", expected));
}

Result<int64_t> Gguf::get_int(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value != nullptr) {
    if (const auto* number = std::get_if<int64_t>(&value->value)) return *number;
    if (const auto* number = std::get_if<uint64_t>(&value->value)) {
      if (const auto fits = checked_cast<int64_t>(*number)) return *fits;
      return model_error(cat(file_.path(), ": ", key, ": ", *number, " is too large"));
    }
  }
  return wrong_type(key, "an integer");
}

Result<double> Gguf::get_double(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value != nullptr) {
    if (const auto* number = std::get_if<int64_t>(&value->value)) {
      return static_cast<double>(*number);
    }
    if (const auto* number = std::get_if<uint64_t>(&value->value)) {
      return static_cast<double>(*number);
    }
    if (const auto* number = std::get_if<double>(&value->value)) {
      if (std::isfinite(*number)) return *number;
      return model_error(cat(file_.path(), ": ", key, ": ", *number, " is not finite"));
    }
  }
  return wrong_type(key, "a number");
}

Result<bool> Gguf::get_bool(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value != nullptr) {
    if (const bool* flag = std::get_if<bool>(&value->value)) return *flag;
  }
  return wrong_type(key, "a bool");
}

Result<std::string> Gguf::get_string(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value != nullptr) {
    if (const auto* text = std::get_if<std::string>(&value->value)) return *text;
  }
  return wrong_type(key, "a string");
}

Result<std::span<const std::string>> Gguf::get_strings(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value != nullptr) {
    if (const auto* list = std::get_if<GgufValue::Strings>(&value->value)) {
      return std::span<const std::string>(*list);
    }
  }
  return wrong_type(key, "an array of strings");
}

Result<std::span<const int64_t>> Gguf::get_ints(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value != nullptr) {
    if (const auto* list = std::get_if<std::vector<int64_t>>(&value->value)) {
      return std::span<const int64_t>(*list);
    }
  }
  return wrong_type(key, "an array of integers");
}

Result<std::span<const double>> Gguf::get_doubles(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value != nullptr) {
    if (const auto* list = std::get_if<std::vector<double>>(&value->value)) {
      return std::span<const double>(*list);
    }
  }
  return wrong_type(key, "an array of floats");
}

}  // namespace lserve
