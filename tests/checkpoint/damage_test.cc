// Files cut at every byte and files with random damage: an error at worst, never a crash. Run under
// the sanitizers this also shows that no read leaves its buffer.
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "base/random.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/gguf.h"
#include "checkpoint/safetensors.h"
#include "support/gguf_writer.h"
#include "support/memory_file.h"
#include "support/safetensors_writer.h"
#include "support/temp_directory.h"

namespace lserve {
namespace {

// Opens the file cut to every length from size - 1 down to 0.
template <typename Open>
void cut_everywhere(MemoryFile& file, size_t size, Open open) {
  for (size_t length = size; length-- > 0;) {
    file.cut(length);
    const Status status = open();
    ASSERT_FALSE(status.ok()) << "cut at byte " << length;
    ASSERT_EQ(status.kind(), ErrorKind::kModel) << "cut at byte " << length;
  }
}

TEST(Damage, GgufCutAtEveryByte) {
  const std::string bytes = tiny_gguf_model().build();
  MemoryFile file;
  const std::string& path = file.write(bytes);
  ASSERT_TRUE(Checkpoint::open(path).ok());
  cut_everywhere(file, bytes.size(), [&] { return Checkpoint::open(path).status(); });
}

TEST(Damage, SafetensorsCutAtEveryByte) {
  const std::string bytes = tiny_hf_weights().build();
  MemoryFile file;
  const std::string& path = file.write(bytes);
  ASSERT_TRUE(Safetensors::open(path).ok());
  cut_everywhere(file, bytes.size(), [&] { return Safetensors::open(path).status(); });
}

// Overwrites 1 to 8 bytes of the first `head` ones, often by values at a type's edge.
std::string damaged(std::string bytes, size_t head, Random& random) {
  static constexpr unsigned char kEdges[] = {0x00, 0x01, 0x7F, 0x80, 0xFF};
  const int64_t count = random.integer(1, 8);
  for (int64_t i = 0; i < count; ++i) {
    const auto at = static_cast<size_t>(random.integer(0, static_cast<int64_t>(head) - 1));
    bytes[at] = static_cast<char>(random.uniform() < 0.5 ? kEdges[random.integer(0, 4)]
                                                         : random.integer(0, 255));
  }
  return bytes;
}

// Opens the model and, if that works, reads all of it.
void use(const std::string& path) {
  const auto model = Checkpoint::open(path);
  if (!model.ok()) {
    ASSERT_EQ(model.status().kind(), ErrorKind::kModel);
    return;
  }
  for (const TensorInfo& tensor : (*model)->tensors()) {
    std::vector<std::byte> bytes(tensor.bytes);
    ASSERT_TRUE((*model)->read_tensor(tensor, bytes).ok());
  }
}

constexpr int kCases = 2000;
constexpr uint64_t kSeed = 20250214;

TEST(Damage, GgufWithRandomBytes) {
  const std::string bytes = tiny_gguf_model().build();
  size_t data = 0;
  for (const auto& tensor : tiny_gguf_model().tensors) data += tensor.data.size();
  MemoryFile file;
  Random random(kSeed);
  testing::internal::CaptureStderr();  // renamed tensors are unknown extras
  for (int i = 0; i < kCases; ++i) {
    SCOPED_TRACE(testing::Message() << "seed " << kSeed << ", case " << i);
    use(file.write(damaged(bytes, bytes.size() - data, random)));
  }
  testing::internal::GetCapturedStderr();
}

TEST(Damage, SafetensorsWithRandomBytes) {
  const std::string bytes = tiny_hf_weights().build();
  size_t data = 0;
  for (const auto& tensor : tiny_hf_weights().tensors) data += tensor.bytes;
  const TempDirectory directory;
  MemoryFile file;
  directory.write("config.json", tiny_hf_config());
  std::filesystem::create_symlink(file.path(), directory.path() + "/model.safetensors");
  Random random(kSeed);
  testing::internal::CaptureStderr();
  for (int i = 0; i < kCases; ++i) {
    SCOPED_TRACE(testing::Message() << "seed " << kSeed << ", case " << i);
    file.write(damaged(bytes, bytes.size() - data, random));
    use(directory.path());
  }
  testing::internal::GetCapturedStderr();
}

TEST(Damage, ConfigWithRandomBytes) {
  const std::string config = tiny_hf_config();
  const TempDirectory directory;
  MemoryFile file;
  directory.write("model.safetensors", tiny_hf_weights().build());
  std::filesystem::create_symlink(file.path(), directory.path() + "/config.json");
  Random random(kSeed);
  testing::internal::CaptureStderr();
  for (int i = 0; i < kCases; ++i) {
    SCOPED_TRACE(testing::Message() << "seed " << kSeed << ", case " << i);
    file.write(damaged(config, config.size(), random));
    use(directory.path());
  }
  testing::internal::GetCapturedStderr();
}

}  // namespace
}  // namespace lserve
