// What tensor/cuda decides without a device: whether one can be used, what of its memory a process
// may use, and how the process ends when it fails. Skipped where CUDA is not built.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#ifdef LSERVE_WITH_CUDA
#include "tensor/cuda/device_info.h"
#include "tensor/cuda/device_memory.h"
#include "tensor/cuda/fatal_device_error.h"
#endif

namespace lserve::cuda {
namespace {

#ifndef LSERVE_WITH_CUDA

TEST(CudaDevice, IsJudged) { GTEST_SKIP() << "this build has no CUDA"; }

#else

// Of cudaError_t, whose values are part of CUDA's interface.
constexpr int kMemoryAllocation = 2;
constexpr int kInsufficientDriver = 35;
constexpr int kDevicesUnavailable = 46;
constexpr int kNoDevice = 100;
constexpr int kSystemDriverMismatch = 803;

DeviceAnswers good() {
  DeviceAnswers answers;
  answers.num_devices = 1;
  answers.has_code = true;
  answers.device = {.name = "NVIDIA H100 80GB HBM3",
                    .major = 9,
                    .minor = 0,
                    .num_sms = 132,
                    .driver_version = 13000,
                    .runtime_version = 13000};
  return answers;
}

// The sentence, after checks that hold for all: the kind, one line, no other sentence after it.
std::string sentence(const DeviceAnswers& answers, ErrorKind kind = ErrorKind::kDevice) {
  const Status status = judge_device(answers);
  EXPECT_FALSE(status.ok());
  if (status.ok()) return "";
  EXPECT_EQ(status.kind(), kind);
  EXPECT_EQ(status.message().find('\n'), std::string::npos);
  EXPECT_NE(status.message().find("use --device cpu"), std::string::npos) << "no remedy";
  return status.message();
}

DeviceAnswers with_error(int error) {
  DeviceAnswers answers = good();
  answers.error = error;
  return answers;
}

TEST(CudaDevice, AGoodOneIsTaken) { EXPECT_TRUE(judge_device(good()).ok()); }

TEST(CudaDevice, NoDriver) {
  // Without a driver CUDA says "insufficient", of a driver of version 0.
  DeviceAnswers answers = with_error(kInsufficientDriver);
  answers.device.driver_version = 0;
  EXPECT_EQ(sentence(answers), "cuda: this machine has no NVIDIA driver; use --device cpu");
}

TEST(CudaDevice, DriverTooOld) {
  DeviceAnswers answers = with_error(kInsufficientDriver);
  answers.device.driver_version = 12040;
  EXPECT_EQ(
      sentence(answers),
      "cuda: the NVIDIA driver is too old: it knows CUDA 12.4, this lserve needs 13.0; update "
      "it, or use --device cpu");
}

TEST(CudaDevice, NoDevice) {
  const std::string expected = "cuda: this machine shows no NVIDIA GPU; use --device cpu";
  EXPECT_EQ(sentence(with_error(kNoDevice)), expected);
  DeviceAnswers none = good();
  none.num_devices = 0;
  EXPECT_EQ(sentence(none), expected);
}

TEST(CudaDevice, NoCodeForTheArchitecture) {
  DeviceAnswers answers = good();
  answers.has_code = false;
  answers.device.name = "NVIDIA GeForce RTX 5090";
  answers.device.major = 12;
  const std::string text = sentence(answers);
  EXPECT_EQ(text.find("cuda: NVIDIA GeForce RTX 5090 is sm_120, and this lserve was built for "),
            0U)
      << text;
  EXPECT_NE(text.find("build it with -DLSERVE_CUDA_ARCHITECTURES=120, or"), std::string::npos);
}

TEST(CudaDevice, TooOldForAnyCode) {
  DeviceAnswers answers = good();
  answers.has_code = false;
  answers.device.name = "Tesla T4";
  answers.device.major = 7;
  answers.device.minor = 5;
  EXPECT_EQ(sentence(answers),
            "cuda: Tesla T4 is sm_75, lserve needs sm_80 or newer; use --device cpu");
}

TEST(CudaDevice, FullMemoryIsAMatterOfMemory) {
  const std::string text = sentence(with_error(kMemoryAllocation), ErrorKind::kMemory);
  EXPECT_NE(text.find("the memory of the GPU is full before anything is loaded"), std::string::npos)
      << text;
}

TEST(CudaDevice, OtherErrorsAreToldAsCudaDoes) {
  for (const int error : {kDevicesUnavailable, kSystemDriverMismatch}) {
    const std::string text = sentence(with_error(error));
    EXPECT_EQ(text.find("cuda: the GPU cannot be used: "), 0U) << text;
    EXPECT_EQ(text.find("unrecognized error"), std::string::npos) << text;
  }
}

constexpr int64_t kGiB = int64_t{1} << 30;

TEST(CudaMemory, AShareOfTheTotal) {
  const DeviceShare alone{.total = 80 * kGiB, .free = 79 * kGiB, .own = kGiB, .utilization = 0.5};
  EXPECT_EQ(usable_bytes(alone), 39 * kGiB);
  DeviceShare reserved = alone;
  reserved.reserve = kGiB / 4;
  EXPECT_EQ(usable_bytes(reserved), 39 * kGiB - kGiB / 4);
  // What this process has allocated counts, what others have only where little is left.
  DeviceShare shared = alone;
  shared.free = 30 * kGiB;
  EXPECT_EQ(usable_bytes(shared), 30 * kGiB);
  shared.own = 35 * kGiB;
  EXPECT_EQ(usable_bytes(shared), 5 * kGiB);
  shared.own = 41 * kGiB;
  EXPECT_EQ(usable_bytes(shared), 0);
}

TEST(CudaMemory, TheContextIsWhatIsUsedButBounded) {
  EXPECT_EQ(held_by_context(80 * kGiB, 80 * kGiB - kGiB / 2, 0), kGiB / 2);
  EXPECT_EQ(held_by_context(80 * kGiB, 79 * kGiB, 3 * kGiB / 4), kGiB / 4);
  EXPECT_EQ(held_by_context(80 * kGiB, 40 * kGiB, 0), kGiB) << "others use the device";
  EXPECT_EQ(held_by_context(80 * kGiB, 80 * kGiB, kGiB), 0);
}

TEST(CudaMemory, AllocationsTakeBlocksOrTheirShare) {
  constexpr int64_t kBlock = 2 << 20;
  EXPECT_EQ(allocated_bytes(0), 0);
  EXPECT_EQ(allocated_bytes(1), 1);
  EXPECT_EQ(allocated_bytes(kBlock), kBlock);
  EXPECT_EQ(allocated_bytes(kBlock + 1), 2 * kBlock);
  EXPECT_EQ(allocated_bytes(kBlock - 1), kBlock);
  EXPECT_EQ(allocated_bytes(kBlock / 2 + 1), kBlock) << "a second one has no room beside it";
  EXPECT_EQ(allocated_bytes(kBlock / 2), kBlock / 2);
  for (const int64_t bytes : {100L, 663'552L, 700'000L, 3'000'000L, 58'720'256L}) {
    EXPECT_GE(allocated_bytes(bytes), bytes);
  }
}

// Ends at once, with one line; SIGALRM would end it with a signal, and exit() with 99.
TEST(CudaFault, EndsTheProcess) {
  const auto fault = [] {
    std::atexit([] { std::_Exit(99); });
    ::alarm(2);
    fatal_device_error("cudaLaunch(x)", "/some/folder/step.cc", 12, "cudaErrorX, the cause");
  };
  EXPECT_EXIT(fault(), ::testing::ExitedWithCode(1),
              "^error\\[runtime\\]: the device failed: cudaLaunch\\(x\\) \\(step.cc:12\\): "
              "cudaErrorX, the cause\n$");
}

#endif

}  // namespace
}  // namespace lserve::cuda
