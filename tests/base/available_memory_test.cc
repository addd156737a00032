#include "base/available_memory.h"

#include <gtest/gtest.h>

namespace lserve {
namespace {

TEST(AvailableMemory, ThisMachineHasSome) { EXPECT_GT(available_memory(), 1 << 20); }

}  // namespace
}  // namespace lserve
