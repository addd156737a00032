// What the cuda backend promises beyond the operations: memory, graphs, weights, and that a row
// does not notice how many come along at the sizes of real models. Skipped where there is no GPU.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "kernels/backend.h"
#include "quant/random_values.h"
#include "support/compare.h"
#include "support/values.h"
#ifdef LSERVE_WITH_CUDA
#include "tensor/cuda/device_memory.h"
#include "tensor/cuda/memory_regions.h"
#endif

namespace lserve::testing {
namespace {

#ifndef LSERVE_WITH_CUDA

TEST(CudaBackend, IsRefusedWhereItIsNotBuilt) {
  const auto made = make_backend({.kind = BackendKind::kCuda});
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.status().kind(), ErrorKind::kDevice);
  EXPECT_NE(made.status().message().find("built without CUDA"), std::string::npos);
}

#else

// A float tensor in the device's memory.
struct DeviceTensor {
  DeviceTensor(Backend* b, Shape shape) : backend(*b) {
    auto made = backend.allocate(static_cast<size_t>(shape.num_elements()) * sizeof(float));
    CHECK(made.ok());
    buffer = std::move(made).value();
    view = TensorView(buffer.as<float>(), shape);
  }
  DeviceTensor(Backend* b, Shape shape, const std::vector<float>& values) : DeviceTensor(b, shape) {
    backend.upload(buffer.data(), values.data(), buffer.bytes());
  }
  std::vector<float> values() const {
    std::vector<float> host(static_cast<size_t>(view.shape.num_elements()));
    backend.download(host.data(), buffer.data(), buffer.bytes());
    return host;
  }
  Backend& backend;
  Buffer buffer;
  TensorView view;
};

class CudaBackend : public ::testing::Test {
 protected:
  void SetUp() override {
    auto made = make_backend({.kind = BackendKind::kCuda});
    if (!made.ok()) {
      EXPECT_EQ(made.status().kind(), ErrorKind::kDevice);
      GTEST_SKIP() << made.status().message();
    }
    backend_ = std::move(made).value();
  }
  Weight random_weight(int64_t rows, int64_t columns) {
    auto weight = backend_->make_random_weight(rows, columns, 7, 0.05F);
    CHECK(weight.ok());
    return std::move(weight).value();
  }
  std::unique_ptr<Backend> backend_;
};

TEST_F(CudaBackend, AllocatesZeroedMemoryAndRefusesWhatIsNotThere) {
  auto buffer = backend_->allocate(1000);
  ASSERT_TRUE(buffer.ok());
  std::vector<char> host(1000, 'x');
  backend_->download(host.data(), buffer->data(), host.size());
  EXPECT_EQ(std::count(host.begin(), host.end(), 0), 1000);
  const auto refused = backend_->allocate(size_t{1} << 50);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.status().kind(), ErrorKind::kMemory);
  EXPECT_NE(refused.status().message().find("1024.00 TiB"), std::string::npos)
      << refused.status().message();
  EXPECT_GT(backend_->available_bytes(), 0);
}

// The host's memory is used again at once: whatever was there when upload() was called arrives.
TEST_F(CudaBackend, UploadsMayBeOverwrittenAtOnce) {
  Random random(3);
  constexpr size_t kBytes = size_t{50} << 20;
  auto buffer = backend_->allocate(kBytes);
  ASSERT_TRUE(buffer.ok());
  std::vector<std::byte> expected(kBytes);
  std::vector<std::byte> reused;
  for (size_t at = 0; at < kBytes;) {
    const auto most = random.integer(0, 9) == 0 ? int64_t{5} << 20 : int64_t{3000};
    const auto size = std::min(kBytes - at, static_cast<size_t>(random.integer(1, most)));
    reused.assign(size, static_cast<std::byte>(random.integer(0, 255)));
    std::memcpy(expected.data() + at, reused.data(), size);
    backend_->upload(buffer->as<std::byte>() + at, reused.data(), size);
    std::fill(reused.begin(), reused.end(), std::byte{0});
    at += size;
  }
  std::vector<std::byte> actual(kBytes);
  backend_->download(actual.data(), buffer->data(), kBytes);
  EXPECT_EQ(std::memcmp(actual.data(), expected.data(), kBytes), 0);
}

TEST_F(CudaBackend, RandomWeightsAreThoseOfTheHost) {
  const Weight weight = random_weight(33, 129);
  std::vector<bf16> values(33 * 129);
  backend_->download(values.data(), weight.data.data(), values.size() * sizeof(bf16));
  for (size_t i = 0; i < values.size(); ++i) {
    ASSERT_EQ(values[i].bits, to_bf16(random_value(7, i, 0.05F)).bits) << i;
  }
}

// A graph repeats what was recorded, on what memory holds by then, and is bit for bit what running
// the operations gives.
TEST_F(CudaBackend, GraphsRepeatWithTheMemoryOfTheMoment) {
  auto plain = make_backend({.kind = BackendKind::kCuda, .graphs = false});
  ASSERT_TRUE(plain.ok());
  const Weight weight = random_weight(256, 512);
  const auto plain_weight = (*plain)->make_random_weight(256, 512, 7, 0.05F);
  ASSERT_TRUE(plain_weight.ok());
  const Shape wide{3, 512};
  const Shape narrow{3, 256};
  DeviceTensor x(backend_.get(), wide);
  DeviceTensor y(backend_.get(), narrow);
  DeviceTensor plain_x(plain->get(), wide);
  DeviceTensor plain_y(plain->get(), narrow);
  int calls = 0;
  const auto step = [&](Backend* backend, const Weight& w, const DeviceTensor& in,
                        const DeviceTensor& out) {
    ++calls;
    backend->silu_mul({.gate = in.view, .up = in.view, .out = in.view});
    const LinearOutput output{.weight = &w, .out = out.view};
    backend->linear({.x = in.view, .outputs = {&output, 1}, .rows = RowCount::kFew});
  };
  Random random(5);
  for (int i = 0; i < 4; ++i) {
    const auto values = make(Values::kNormal, 3 * 512, 512, &random);
    backend_->upload(x.buffer.data(), values.data(), x.buffer.bytes());
    (*plain)->upload(plain_x.buffer.data(), values.data(), x.buffer.bytes());
    backend_->run_graph(11, [&] { step(backend_.get(), weight, x, y); });
    (*plain)->run_graph(11, [&] { step(plain->get(), *plain_weight, plain_x, plain_y); });
    EXPECT_TRUE(same_bits(y.values(), plain_y.values())) << "step " << i;
    EXPECT_TRUE(same_bits(x.values(), plain_x.values())) << "step " << i;
  }
  EXPECT_EQ(calls, 1 + 4) << "recorded once, run four times";
}

TEST_F(CudaBackend, LinearAllocatesNothingBeyondWhatIsReserved) {
  const Weight weight = random_weight(256, 512);
  DeviceTensor x(backend_.get(), {5000, 512});
  DeviceTensor y(backend_.get(), {5000, 256});
  const LinearOutput output{.weight = &weight, .out = y.view};
  ScratchLimits limits;
  limits.num_logit_rows = limits.num_tokens = 5000;
  limits.num_columns = 512;
  const int64_t live = cuda::live_device_bytes();
  ASSERT_TRUE(backend_->reserve(limits).ok());
  EXPECT_EQ(cuda::live_device_bytes() - live, backend_->scratch_bytes(limits));
  const int64_t before = cuda::num_device_allocations();
  for (const bool precise : {false, true}) {
    backend_->linear({.x = x.view, .outputs = {&output, 1}, .precise = precise});
  }
  backend_->linear({.x = x.view, .outputs = {&output, 1}, .rows = RowCount::kFew});
  backend_->synchronize();
  EXPECT_EQ(cuda::num_device_allocations(), before);
}

// A plan that is too small is a mistake of the program: it is told, and nothing grows. (Slices of x
// are cut to fit, but not below 256 rows, which are too many of such a width.)
TEST_F(CudaBackend, AFaultOfThePlanEndsTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  constexpr int64_t kColumns = 70000;
  const Weight weight = random_weight(8, kColumns);
  ASSERT_TRUE(backend_->reserve({.num_tokens = 300, .num_columns = 512}).ok());
  const auto multiply = [&](int64_t tokens) {
    DeviceTensor x(backend_.get(), {tokens, kColumns});
    DeviceTensor y(backend_.get(), {tokens, 8});
    const LinearOutput output{.weight = &weight, .out = y.view};
    backend_->linear({.x = x.view, .outputs = {&output, 1}, .precise = true});
    backend_->synchronize();
  };
  multiply(200);
  EXPECT_DEATH(multiply(300), "larger than what Backend::reserve");
}

TEST_F(CudaBackend, PageLockedMemoryIsRefusedToo) {
  const auto refused = cuda::allocate_pinned(size_t{1} << 50);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.status().kind(), ErrorKind::kMemory);
  EXPECT_EQ(refused.status().message(), "cannot allocate 1024.00 TiB of page-locked host memory");
  // The refusal is forgotten: the device goes on.
  DeviceTensor x(backend_.get(), {4, 64}, std::vector<float>(4 * 64, 1.0F));
  EXPECT_EQ(x.values()[255], 1.0F);
}

TEST_F(CudaBackend, SamplingAllocatesNothingOnceReserved) {
  constexpr int64_t kRows = 7;
  constexpr int64_t kVocab = 32003;
  Random random(9);
  DeviceTensor logits(backend_.get(), {kRows, kVocab},
                      make(Values::kNormal, kRows * kVocab, kVocab, &random));
  ASSERT_TRUE(backend_->reserve({.num_logit_rows = kRows, .vocab_size = kVocab}).ok());
  const int64_t before = cuda::num_device_allocations();
  SampleRow row{.sampling = {.temperature = 1, .top_k = 50, .top_p = 0.9F, .min_p = 0.01F}};
  std::vector<SampleRow> rows(kRows, row);
  std::vector<int32_t> tokens(kRows, -7);
  std::vector<double> log_probs(kRows, 7.0);
  backend_->sample({.logits = logits.view, .rows = rows, .tokens = tokens});
  backend_->log_probs({.logits = logits.view, .targets = tokens, .log_probs = log_probs});
  EXPECT_EQ(cuda::num_device_allocations(), before);
  for (size_t i = 0; i < tokens.size(); ++i) {
    EXPECT_GE(tokens[i], 0);
    EXPECT_LT(log_probs[i], 0);
  }
}

std::vector<float> linear(Backend* backend, const Weight& weight, const std::vector<float>& x,
                          RowCount rows) {
  const int64_t tokens = static_cast<int64_t>(x.size()) / weight.columns;
  DeviceTensor in(backend, {tokens, weight.columns}, x);
  DeviceTensor out(backend, {tokens, weight.rows}, poisoned(tokens * weight.rows));
  const LinearOutput output{.weight = &weight, .out = out.view};
  backend->linear({.x = in.view, .outputs = {&output, 1}, .rows = rows});
  return out.values();
}

// The layers of Llama-3-8B and of SmolLM2, an output head with an odd number of rows: a row's bits
// are the same alone and among thousands, and both kernels agree where x is bf16 already.
TEST_F(CudaBackend, LinearRowsAreIndependentAtModelSizes) {
  constexpr int64_t kTokens = 3000;
  for (const auto& [rows, columns] : {std::pair{4096, 4096},
                                      {1024, 4096},
                                      {14336, 4096},
                                      {4096, 14336},
                                      {576, 576},
                                      {192, 576},
                                      {1536, 576},
                                      {576, 1536},
                                      {32003, 2048},
                                      {8, 64}}) {
    SCOPED_TRACE(::testing::Message() << rows << " x " << columns);
    Random random(static_cast<uint64_t>(rows + columns));
    const Weight weight = random_weight(rows, columns);
    auto x = make(Values::kNormal, kTokens * columns, columns, &random);
    for (float& value : x) value = to_float(to_bf16(value));
    const auto all = linear(backend_.get(), weight, x, RowCount::kMany);
    const auto part = [&](const std::vector<float>& values, int64_t first, int64_t count,
                          int64_t width) {
      return std::vector<float>(values.begin() + first * width,
                                values.begin() + (first + count) * width);
    };
    for (const int64_t count : {1, 2, 7, 8, 16, 33, 64, 129, 512, 1000, 2048, 2049}) {
      const int64_t first = random.integer(0, kTokens - count);
      const auto some =
          linear(backend_.get(), weight, part(x, first, count, columns), RowCount::kMany);
      ASSERT_TRUE(same_bits(some, part(all, first, count, rows))) << count << " tokens";
    }
    const auto few = linear(backend_.get(), weight, part(x, 0, 9, columns), RowCount::kFew);
    const double tolerance = 1e-6 * 0.05 * static_cast<double>(columns);
    for (size_t i = 0; i < few.size(); ++i) ASSERT_NEAR(few[i], all[i], tolerance) << i;
  }
}

// An error at run time ends the process: within two seconds, with the exit code of run-time errors
// and the cause.
// (Making a backend anew in the child is most of the time that this takes.)
TEST_F(CudaBackend, AFaultEndsTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto fault = [&] {
    DeviceTensor x(backend_.get(), {4, 64});
    const TensorView nowhere(reinterpret_cast<float*>(uintptr_t{1} << 44), {4, 64});
    backend_->silu_mul({.gate = x.view, .up = x.view, .out = nowhere});
    std::atexit([] { std::_Exit(99); });  // would show that exit() was called
    ::alarm(2);                           // a signal would show that it took longer
    backend_->synchronize();
  };
  EXPECT_EXIT(fault(), ::testing::ExitedWithCode(1),
              "the device failed: .*cudaErrorIllegalAddress");
}

// Touches what it should not: memcheck must report it (scripts/gpu), or its silence about all other
// tests means nothing.
TEST_F(CudaBackend, DISABLED_TouchesMemoryThatIsNotInUse) {
  DeviceTensor x(backend_.get(), {2, 64});
  cuda::MemoryRegions regions;
  regions.add_heap({x.buffer.as<std::byte>(), x.buffer.bytes()});
  const std::span<std::byte> first_row(x.buffer.as<std::byte>(), 64 * sizeof(float));
  regions.use(std::span(&first_row, 1));
  backend_->silu_mul({x.view, x.view, x.view});
  backend_->synchronize();
}

#endif

}  // namespace
}  // namespace lserve::testing
