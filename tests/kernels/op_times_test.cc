#include "kernels/op_times.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "support/replay_backend.h"

namespace lserve::testing {
namespace {

std::unique_ptr<Backend> timed_cpu(OpTimes* times) {
  return make_timed_backend(make_backend({.kind = BackendKind::kCpu, .num_threads = 1}).value(),
                            times);
}

// Eight floats times two, in place.
void silu(Backend* backend, std::vector<float>* x) {
  const TensorView view(x->data(), {1, static_cast<int64_t>(x->size())});
  backend->silu_mul({view, view, view});
}

TEST(OpTimes, CountsEveryCallUnderItsName) {
  OpTimes times;
  const auto backend = timed_cpu(&times);
  std::vector<float> x(8, 1.0F);
  std::vector<float> weight(8, 1.0F);
  silu(backend.get(), &x);
  backend->rms_norm({TensorView(x.data(), {1, 8}), TensorView(weight.data(), {8}),
                     TensorView(x.data(), {1, 8}), 1e-5F});
  silu(backend.get(), &x);
  EXPECT_TRUE(times.all().empty()) << "known only once the operations are done";
  backend->synchronize();
  ASSERT_EQ(times.all().size(), 2U);
  EXPECT_EQ(times.all()[0].op, "silu_mul");
  EXPECT_EQ(times.all()[0].calls, 2);
  EXPECT_EQ(times.all()[1].op, "rms_norm");
  EXPECT_EQ(times.all()[1].calls, 1);
  backend->synchronize();
  EXPECT_EQ(times.all()[0].calls, 2) << "counted once";
  times.clear();
  silu(backend.get(), &x);
  backend->synchronize();
  ASSERT_EQ(times.all().size(), 1U);
  EXPECT_EQ(times.all()[0].calls, 1);
}

TEST(OpTimes, GraphsCountEveryTimeThatTheyRun) {
  OpTimes times;
  const auto backend = timed_cpu(&times);
  std::vector<float> x(8, 1.0F);
  const auto step = [&] {
    silu(backend.get(), &x);
    silu(backend.get(), &x);
  };
  silu(backend.get(), &x);
  for (int i = 0; i < 3; ++i) backend->run_graph(7, step);
  backend->run_graph(8, [&] { silu(backend.get(), &x); });
  backend->synchronize();
  ASSERT_EQ(times.all().size(), 1U);
  EXPECT_EQ(times.all()[0].calls, 1 + 3 * 2 + 1);
}

// What pads its steps for graphs must do so too where times are measured.
TEST(OpTimes, ABackendHasTheGraphsOfTheOneItMeasures) {
  OpTimes times;
  ReplayLog log;
  const auto host = [] { return make_backend({.kind = BackendKind::kCpu}).value(); };
  EXPECT_FALSE(make_timed_backend(host(), &times)->has_graphs());
  const auto replay = make_timed_backend(make_replay_backend(host(), &log), &times);
  EXPECT_TRUE(replay->has_graphs());
}

// All of an operation's time is counted, and none of the time between.
TEST(OpTimes, SumsUpToTheTimeOfTheOperations) {
  using Clock = std::chrono::steady_clock;
  OpTimes times;
  const auto backend = timed_cpu(&times);
  std::vector<float> x(1 << 20, 1.0F);
  double inside = 0;
  for (int i = 0; i < 5; ++i) {
    backend->synchronize();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    const auto start = Clock::now();
    silu(backend.get(), &x);
    inside += std::chrono::duration<double>(Clock::now() - start).count();
  }
  backend->synchronize();
  ASSERT_EQ(times.all().size(), 1U);
  EXPECT_LE(times.all()[0].seconds, inside);
  EXPECT_GE(times.all()[0].seconds, 0.5 * inside);
}

}  // namespace
}  // namespace lserve::testing
