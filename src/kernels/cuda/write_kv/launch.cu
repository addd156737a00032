// Launcher of write_kv and rope_write_kv. Contract: kernels/write_kv.h.
#include "base/check.h"
#include "kernels/cuda/common/dependent_launch.h"
#include "kernels/cuda/common/elements.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/write_kv/kernel.cuh"

namespace lserve::cuda {

namespace {

WriteKvPool pool_of(const WriteKvParams& params) {
  const PagedKvView& kv = params.kv;
  CHECK_EQ(static_cast<int64_t>(params.kv_heads.size()), int64_t{kv.num_heads});
  return {.kv_heads = params.kv_heads.data(),
          .slots = params.slots.data(),
          .tiles = kv.tiles,
          .key_stats = kv.key_stats,
          .stats_elements = kv.stats_elements(),
          .num_heads = kv.num_heads,
          .logical_page_size = kv.logical_page_size,
          .page_score = kv.page_score,
          .stats_format = kv.stats_format,
          .codes_block_bytes = kv.codes_block_bytes()};
}

// k and v of any of the pools: they are the same.
WriteKvArgs args_of(std::span<const WriteKvParams> pools) {
  CHECK(!pools.empty() && pools.size() <= size_t{kMaxPools});
  const WriteKvParams& first = pools[0];
  const auto num_tokens = static_cast<int64_t>(first.slots.size());
  CHECK(first.v.shape == first.k.shape);
  CHECK(first.k.shape == Shape({num_tokens, first.k.dim(1), first.kv.head_dim}));
  CHECK(vectors_fit(first.kv.head_dim, {first.k.data, first.v.data}));
  WriteKvArgs args{.k = first.k.as<float>(),
                   .v = first.v.as<float>(),
                   .num_tokens = num_tokens,
                   .num_kv_heads = static_cast<int32_t>(first.k.dim(1))};
  for (size_t i = 0; i < pools.size(); ++i) {
    CHECK(pools[i].k.data == first.k.data && pools[i].v.data == first.v.data);
    CHECK(pools[i].kv.format == first.kv.format);
    CHECK_EQ(pools[i].kv.head_dim, first.kv.head_dim);
    CHECK_EQ(pools[i].slots.size(), first.slots.size());
    args.pools[i] = pool_of(pools[i]);
  }
  return args;
}

void launch(const WriteKvArgs& args, const PagedKvView& kv, Context* context) {
  const int64_t warps = args.num_tokens * (int64_t{args.num_q_heads} + args.pools[0].num_heads +
                                           args.pools[1].num_heads);
  if (warps == 0) return;
  const auto grid = static_cast<unsigned>((warps + kWriteKvWarps - 1) / kWriteKvWarps);
  visit_layout(kv.format, kv.head_dim, [&](auto layout) {
    launch_after_previous<write_kv_kernel<decltype(layout)>>({grid, kWriteKvThreads}, *context,
                                                             args);
  });
}

}  // namespace

void write_kv(const WriteKvParams& params, Context* context) {
  launch(args_of(std::span(&params, 1)), params.kv, context);
}

void rope_write_kv(const RopeWriteKvParams& params, Context* context) {
  const TensorView& q = params.rope.q;
  const TensorView& cos_sin = params.rope.cos_sin;
  WriteKvArgs args = args_of(params.pools);
  const PagedKvView& kv = params.pools[0].kv;
  CHECK(params.rope.k.data == params.pools[0].k.data);
  CHECK(q.shape == Shape({args.num_tokens, q.dim(1), kv.head_dim}));
  CHECK(cos_sin.shape == Shape({args.num_tokens, 2, kv.head_dim / 2}));
  CHECK(vectors_fit(kv.head_dim / 2, {q.data, cos_sin.data}));
  args.q = q.as<float>();
  args.num_q_heads = static_cast<int32_t>(q.dim(1));
  args.cos_sin = cos_sin.as<float>();
  launch(args, kv, context);
}

}  // namespace lserve::cuda
