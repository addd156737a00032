// A .safetensors file, the header only. Rules: reliability.md 1.2, each with a test.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/status.h"
#include "quant/weight_format.h"

namespace lserve {

struct SafetensorsEntry {
  std::string name;
  std::string dtype;                   // a known one: "BF16", "I64"
  std::optional<WeightFormat> format;  // F32, F16 and BF16; empty: cannot be used as a weight
  std::vector<int64_t> shape;
  uint64_t offset = 0;  // in the file, absolute
  uint64_t bytes = 0;
};

// Immutable once open; safe to share between threads.
class Safetensors {
 public:
  // Reads and checks the header: the tensors fill the file without hole or overlap.
  static Result<Safetensors> open(const std::string& path);

  const File& file() const { return file_; }
  std::span<const SafetensorsEntry> entries() const { return entries_; }  // in the file's order

 private:
  Safetensors(File file, std::vector<SafetensorsEntry> entries)
      : file_(std::move(file)), entries_(std::move(entries)) {}

  File file_;
  std::vector<SafetensorsEntry> entries_;
};

}  // namespace lserve
