// Host memory: zeroed, aligned, freed once, refused without a crash.
#include "tensor/buffer.h"

#include <gtest/gtest.h>

#include <cstdint>

namespace lserve {
namespace {

int g_frees = 0;
void count_free(void* /*data*/, size_t /*bytes*/) { ++g_frees; }

TEST(BufferTest, FreesOnce) {
  g_frees = 0;
  int x = 0;
  {
    Buffer a(&x, sizeof(x), count_free);
    Buffer b = std::move(a);
    EXPECT_EQ(a.data(), nullptr);  // NOLINT: moved from on purpose
    EXPECT_EQ(b.data(), &x);
    Buffer c;
    c = std::move(b);
    EXPECT_EQ(g_frees, 0);
  }
  EXPECT_EQ(g_frees, 1);
}

TEST(BufferTest, HostMemoryIsZeroedAndAligned) {
  for (const size_t bytes : {size_t{0}, size_t{1}, size_t{3} << 20}) {
    const Buffer buffer = allocate_host(bytes);
    ASSERT_NE(buffer.data(), nullptr);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.data()) % 64, 0U);
    for (size_t i = 0; i < bytes; i += 999) EXPECT_EQ(buffer.as<char>()[i], 0);
  }
}

// Committed on first touch: far more than the machine has may be asked for, and part of it used.
TEST(BufferTest, LargePoolsCostWhatIsUsed) {
  const Buffer buffer = allocate_host(size_t{1} << 40);
  if (buffer.data() == nullptr) GTEST_SKIP() << "the system limits address space";
  buffer.as<char>()[(size_t{1} << 40) - 1] = 1;
}

TEST(BufferTest, ImpossibleSizesAreEmpty) {
  EXPECT_EQ(allocate_host(size_t{1} << 60).data(), nullptr);
}

}  // namespace
}  // namespace lserve
