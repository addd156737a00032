// All kernels over the vector vocabulary that was included before (simd_*.h), and their table.
#pragma once

#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cpu/decode_attention.inl.h"
#include "kernels/cpu/decode_codes.inl.h"
#include "kernels/cpu/elementwise.inl.h"
#include "kernels/cpu/linear.inl.h"
#include "kernels/cpu/page_scores.inl.h"
#include "kernels/cpu/row_tiles.inl.h"
#ifdef __AVX512BF16__
#include "kernels/cpu/prefill_attention_bf16.inl.h"
#else
#include "kernels/cpu/prefill_attention.inl.h"
#endif

namespace lserve::cpu {
namespace {

template <class Block>
constexpr void set_quantised(void (*(&linear)[kNumWeightCodes])(const LinearTile&)) {
  linear[kWeightQ8_0] = quantised_linear<Q8_0Panel, Block>;
  linear[kWeightQ4_0] = quantised_linear<Q4_0Panel, Block>;
  linear[kWeightQ4_1] = quantised_linear<Q4_1Panel, Block>;
  linear[kWeightQ4_K] = quantised_linear<Q4KPanel, Block>;
  linear[kWeightQ6_K] = quantised_linear<Q6KPanel, Block>;
}

constexpr CpuKernels make_table() {
  CpuKernels table{};
  table.name = kIsaName;
  table.row_tile = kRowTile;
  table.pack_rows[kRowsF32] = pack_rows;
  table.pack_rows[kRowsQuantised] = quantise_rows<QuantisedBlock>;
  table.pack_rows[kRowsPrecise] = quantise_rows<PreciseBlock>;
  table.pack_rows[kRowsInteger] = pack_integer_rows;
  table.pack_rows[kRowsE4m3] = pack_e4m3_rows;
  table.linear[kRowsF32][kWeightF32] = float_linear<LoadF32>;
  table.linear[kRowsF32][kWeightF16] = float_linear<LoadF16>;
  table.linear[kRowsF32][kWeightBF16] = float_linear<LoadBF16>;
  table.linear[kRowsF32][kWeightW4A16] = panels_linear<W4A16Tile>;
  table.linear[kRowsInteger][kWeightW8A8] = integer_linear<W8A8Sums>;
  table.linear[kRowsInteger][kWeightW4A8] = integer_linear<W4A8Sums>;
  table.linear[kRowsE4m3][kWeightFp8] = panels_linear<Fp8Tile>;
  set_quantised<QuantisedBlock>(table.linear[kRowsQuantised]);
  set_quantised<PreciseBlock>(table.linear[kRowsPrecise]);
  table.decode_split[kKvF32] = decode_split<KvF32>;
  table.decode_split[kKvBF16] = decode_split<KvBF16>;
  table.decode_split[kKvU8] = decode_split_codes<KvU8>;
  table.decode_split[kKvU4] = decode_split_codes<KvU4>;
  table.merge_splits = merge_splits;
  table.prefill[kKvF32] = prefill<KvF32>;
#ifdef __AVX512BF16__
  table.prefill[kKvBF16] = prefill_bf16;
#else
  table.prefill[kKvBF16] = prefill<KvBF16>;
#endif
  table.prefill[kKvU8] = prefill<KvU8>;
  table.prefill[kKvU4] = prefill<KvU4>;
  table.page_scores = page_scores;
  table.decode_scratch_floats = decode_scratch;
  table.prefill_scratch_floats = prefill_scratch;
  table.rms_norm = rms_norm;
  table.silu_mul = silu_mul;
  table.rope = rope;
  return table;
}

}  // namespace
}  // namespace lserve::cpu
