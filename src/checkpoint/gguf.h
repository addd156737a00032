// GGUF v2/v3, the header only: metadata and the table of tensors. Rules: reliability.md 1.3.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/file.h"
#include "base/status.h"

namespace lserve {

// A metadata value. Arrays are of one element type and never nested.
struct GgufValue {
  using Strings = std::vector<std::string>;
  std::variant<uint64_t, int64_t, double, bool, std::string,  // scalars, widened
               std::vector<int64_t>, std::vector<double>, std::vector<bool>, Strings>
      value;
};

struct GgufTensor {
  std::string name;
  uint32_t type = 0;           // ggml type number
  std::vector<uint64_t> dims;  // fastest first: [columns, rows]
  uint64_t offset = 0;         // in the file, absolute
  uint64_t bytes = 0;
};

// Immutable once open; safe to share between threads.
class Gguf {
 public:
  // Reads and checks the header: metadata, tensor table, and that all tensor data is in the file.
  static Result<Gguf> open(const std::string& path);

  const File& file() const { return file_; }
  uint32_t version() const { return version_; }
  std::span<const GgufTensor> tensors() const { return tensors_; }

  bool has(std::string_view key) const { return find(key) != nullptr; }
  // Typed access; the error names file, key, what it is and what was expected. Integers accept any
  // integer type that holds the value, floats also integers.
  Result<int64_t> get_int(std::string_view key) const;
  Result<double> get_double(std::string_view key) const;
  Result<bool> get_bool(std::string_view key) const;
  Result<std::string> get_string(std::string_view key) const;
  Result<std::span<const std::string>> get_strings(std::string_view key) const;
  Result<std::span<const int64_t>> get_ints(std::string_view key) const;
  Result<std::span<const double>> get_doubles(std::string_view key) const;

 private:
  explicit Gguf(File file) : file_(std::move(file)) {}
  const GgufValue* find(std::string_view key) const;
  Status wrong_type(std::string_view key, std::string_view expected) const;

  File file_;
  uint32_t version_ = 0;
  std::vector<std::pair<std::string, GgufValue>> metadata_;  // sorted by key
  std::vector<GgufTensor> tensors_;
};

}  // namespace lserve
