// Writing a .safetensors file, tensor by tensor: it appears whole or not at all.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/atomic_file.h"
#include "base/status.h"

namespace lserve {

class SafetensorsOutput {
 public:
  struct Entry {
    std::string name;
    std::string dtype;  // as the file calls it: "BF16", "U8"
    std::vector<int64_t> shape;
    uint64_t bytes = 0;
  };

  // Writes the header. kRuntime: the file cannot be written.
  static Result<SafetensorsOutput> create(const std::string& path, std::vector<Entry> entries);
  // The data of the next entry, in their order. REQUIRES: as many bytes as it has.
  Status write(std::span<const std::byte> data);
  // REQUIRES: all entries were written.
  Status commit();

 private:
  SafetensorsOutput(AtomicFile file, std::vector<Entry> entries)
      : file_(std::move(file)), entries_(std::move(entries)) {}
  AtomicFile file_;
  std::vector<Entry> entries_;
  size_t next_ = 0;
};

}  // namespace lserve
