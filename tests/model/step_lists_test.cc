#include "model/step_lists.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "support/memory_backend.h"

namespace lserve::testing {
namespace {

using Region = StepLists::Region;

constexpr StepLimits kLimits = {.max_tokens = 100,
                                .num_layers = 3,
                                .num_kv_heads = 2,
                                .num_q_heads = 6,
                                .head_dim = 64,
                                .context_pages = 20,
                                .budget_pages = 4};

std::vector<int32_t> ascending(size_t count, int32_t first) {
  std::vector<int32_t> list(count);
  std::iota(list.begin(), list.end(), first);
  return list;
}

TEST(StepLists, AListIsReadWhereItWasPromised) {
  MemoryBackend backend;
  StepLists lists = StepLists::create(kLimits, backend).value();
  const auto tokens = ascending(7, 100);
  const auto ids = ascending(9, 500);
  const auto placed_tokens = lists.add(Region::kLists, std::span(tokens)).device;
  const auto placed_ids = lists.add(Region::kStreamingPageIds, std::span(ids)).device;
  const auto more = lists.reserve<float>(Region::kLists, 3);
  more.host[2] = 2.5F;
  lists.upload(backend);
  EXPECT_EQ(std::vector(placed_tokens.begin(), placed_tokens.end()), tokens);
  EXPECT_EQ(std::vector(placed_ids.begin(), placed_ids.end()), ids);
  EXPECT_EQ(more.device[2], 2.5F);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(more.device.data()) % 64, 0U);
}

// What a recorded step relies on.
TEST(StepLists, StepsOfTheSameSizesFindTheirListsAtTheSameAddresses) {
  MemoryBackend backend;
  StepLists lists = StepLists::create(kLimits, backend).value();
  const auto place = [&](size_t pages) {
    lists.clear();
    const std::vector<int32_t> ids = ascending(pages, 0);
    const std::span<const int32_t> all = ids;
    const void* first = lists.add(Region::kLists, all.first(5)).device.data();
    const void* page_ids = lists.add(Region::kRetrievalPageIds, all).device.data();
    const void* second = lists.add(Region::kLists, all.first(5)).device.data();
    const void* spans = lists.whole<PageSpan>(Region::kSpans).data();
    return std::array{first, page_ids, second, spans};
  };
  EXPECT_EQ(place(5), place(20));
}

TEST(StepLists, ElementsOfTheSpanRegionFollowEachOther) {
  MemoryBackend backend;
  StepLists lists = StepLists::create(kLimits, backend).value();
  const std::vector<PageSpan> spans = {{1, 0, 64}, {2, 0, 64}, {3, 0, 7}};
  const auto first = lists.add(Region::kSpans, std::span(spans)).device;
  const auto second = lists.add(Region::kSpans, std::span(spans)).device;
  EXPECT_EQ(first.data(), lists.whole<PageSpan>(Region::kSpans).data());
  EXPECT_EQ(second.data(), first.data() + 3);
}

TEST(StepLists, TheLargestDecodeStepFits) {
  MemoryBackend backend;
  StepLists lists = StepLists::create(kLimits, backend).value();
  const std::vector<DecodeWork> work(6);
  const std::vector<PageScoreWork> score(6);
  const std::vector<GatherSpansWork> gather(6);
  const auto rows = ascending(6, 0);
  const std::vector<PageSpan> spans(2 * 21 + 6 * 5);
  for (int64_t layer = 0; layer < kLimits.num_layers; ++layer) {
    lists.add(Region::kLists, std::span(work));
    lists.add(Region::kLists, std::span(score));
    lists.add(Region::kLists, std::span(rows));
    lists.add(Region::kLists, std::span(rows));
    lists.add(Region::kLists, std::span(gather));
    lists.add(Region::kSpans, std::span(spans));
  }
  const std::vector<GatherSpansWork> reused(6 * static_cast<size_t>(kLimits.num_layers));
  lists.add(Region::kLists, std::span(reused));
  lists.upload(backend);
}

TEST(StepLists, NoRoomIsAnError) {
  MemoryBackend backend(/*max_allocations=*/0);
  EXPECT_EQ(StepLists::create(kLimits, backend).status().kind(), ErrorKind::kMemory);
}

}  // namespace
}  // namespace lserve::testing
