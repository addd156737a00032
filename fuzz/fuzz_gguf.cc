// GGUF: the header, then everything a model needs of it: configuration, tensor table, all weights.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/check.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/gguf.h"
#include "support/memory_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lserve;
  static MemoryFile file;
  const std::string& path = file.write(data, size);
  const auto gguf = Gguf::open(path);
  if (!gguf.ok()) {
    CHECK(gguf.status().kind() == ErrorKind::kModel);
    return 0;
  }
  for (const GgufTensor& tensor : gguf->tensors()) {
    CHECK(tensor.offset <= size && tensor.bytes <= size - tensor.offset);
  }
  const auto checkpoint = Checkpoint::open(path);
  if (!checkpoint.ok()) {
    CHECK(checkpoint.status().kind() == ErrorKind::kModel);
    return 0;
  }
  for (const TensorInfo& tensor : (*checkpoint)->tensors()) {
    std::vector<std::byte> bytes(tensor.bytes);
    CHECK((*checkpoint)->read_tensor(tensor, bytes).ok());
  }
  (void)(*checkpoint)->read_tokenizer();
  return 0;
}
