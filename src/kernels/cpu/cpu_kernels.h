// What the instruction-set files (isa_*.cc) offer to the backend: plain structs and a table of
// functions, one table per instruction set.
//
// The isa_*.cc files are compiled with flags of their own, so they must share no inline function
// with the rest of the program (the linker could keep the copy that this machine cannot run).
// Therefore this header holds data only, and they include nothing else of the project.
#pragma once

#include <cstdint>

namespace lserve::cpu {

inline constexpr int kPanel = 16;     // weight rows that are interleaved (linear_pack.h)
inline constexpr int kBlock = 32;     // columns of a block of W
inline constexpr int kActBlock = 16;  // columns of x that share a scale
inline constexpr int kBlockParts = kBlock / kActBlock;
inline constexpr int kRowGroup = 128;  // columns of W that share a scale in w4a8 and w4a16
inline constexpr float kLeastActivationRow = 1e-30F;  // as kLeastActivation
inline constexpr int kPageTokens = 64;                // as kPageSize
inline constexpr int kMaxRowTile = 16;  // rows of x that a linear kernel takes at once, at most

inline constexpr int kMaxGroup = 32;  // query heads a KV head, at most

enum WeightCode {
  kWeightF32,
  kWeightF16,
  kWeightBF16,
  kWeightQ8_0,
  kWeightQ4_0,
  kWeightQ4_1,
  kWeightQ4_K,
  kWeightQ6_K,
  kWeightW8A8,
  kWeightFp8,
  kWeightW4A8,
  kWeightW4A16,
  kNumWeightCodes
};
// How x is packed: floats by column (for plain weights and w4a16), QuantisedBlock or PreciseBlock,
// IntegerBlock (for w8a8 and w4a8), values of e4m3 (for fp8).
enum RowCode { kRowsF32, kRowsQuantised, kRowsPrecise, kRowsInteger, kRowsE4m3, kNumRowCodes };
enum KvCode { kKvF32, kKvBF16, kKvU8, kKvU4, kNumKvCodes };

// One row of x in one block: x = d * (q + offset). The sums are over a part. A packed tile is
// [columns / kBlock][num_rows] of these.
struct QuantisedBlock {
  struct Part {
    float d;
    int16_t offset;  // one 32-bit word together with sum_q
    int16_t sum_q;
  };
  int8_t q[kBlock];
  Part parts[kBlockParts];
  float sum;  // of x as quantised, over the block
};

// Likewise, to 15 bits: x = d * (128 * high + low).
struct PreciseBlock {
  int8_t high[kBlock];
  int8_t low[kBlock];
  float d;
  int32_t minus_sum;                // of 128 * high + low
  int32_t minus_sums[kBlockParts];  // likewise, over a part
  float sum;
};

// One row of x in one block, as codes of one scale for all columns. A packed tile is the scales of
// its rows, then [ceil(columns / kBlock)][num_rows] of these; codes beyond the columns are 0.
struct IntegerBlock {
  int8_t q[kBlock];
  int32_t sum;  // of q
};

// A tile of packed rows times a run of panels.
struct LinearTile {
  const uint8_t* rows;  // as the kernel's own packing function wrote them
  int num_rows;         // 1 ... row_tile
  int64_t columns;
  const uint8_t* weights;  // [num_panels] panels
  int64_t num_panels;
  int64_t num_outputs;  // of these panels; the last panel may be partly padding
  const float* bias;    // [num_outputs] or null
  float* out;           // [num_rows] rows, out_stride apart
  int64_t out_stride;
  bool accumulate;
};

// The pages of one head of one pool.
struct KvHead {
  const uint8_t* tiles;  // of page 0
  int64_t page_bytes;    // from one page to the next
  KvCode code;
  int head_dim;
};

struct Span {  // as PageSpan
  int32_t page_id;
  int16_t begin;
  int16_t end;
};

struct PageRange {  // as KeyBlockRange
  int32_t begin;
  int32_t end;
};

// One split of one decode work item. Scores are in units of log2: `scale` carries log2(e).
struct DecodeSplit {
  KvHead kv;
  const float* q;  // [group][head_dim]
  int group;
  float scale;
  const Span* spans;
  int num_spans;
  float* out;      // [group][head_dim]: sum of p * v, not yet divided
  float* max;      // [group]
  float* sum;      // [group]: sum of p
  float* scratch;  // decode_scratch_floats(group, head_dim)
};

struct DecodeMerge {
  const float* partial_out;  // [splits][group][head_dim]
  const float* partial_max;  // [splits][group]
  const float* partial_sum;  // [splits][group]
  int num_splits;
  int group;
  int head_dim;
  float* out;  // [group][head_dim]
};

struct PrefillItem {
  KvHead kv;
  const float* q;      // of the first row's first head: [rows] x [group][head_dim]
  float* out;          // likewise
  int64_t row_stride;  // floats from one token to the next, in q and out
  int num_rows;
  int group;
  float scale;       // as in DecodeSplit
  int64_t position;  // of the first row
  int64_t sink;
  int64_t local;
  const int32_t* pages;  // page_idx -> page_id
  const PageRange* ranges;
  int num_ranges;
  float* scratch;  // prefill_scratch_floats(num_rows * group, head_dim)
};

// Scores of a run of pages of one head. A logical page's score is the dot product of its vector
// with q, plus its spread times the query head's spread_weight.
struct ScoreItem {
  const uint8_t* stats;  // of page 0: [logical pages][num_channels], then spreads (or none)  bf16
  int64_t page_bytes;    // from one page to the next
  int64_t row_bytes;     // from one logical page to the next
  bool codes;            // instead of bf16: as PagedKvView::bound_codes
  const float* q;        // [group][num_channels], in the order of the statistics
  int group;
  int num_channels;
  const float* spread_weight;  // [group], or null: there are no spreads
  int logical_page_size;
  const int32_t* pages;  // page_idx -> page_id
  int64_t first_page;    // page_idx
  int64_t end_page;
  int64_t kv_len;
  float* scratch;  // [group][num_channels]
  bool mean;       // over the group, instead of max
  float* scores;   // [page_idx]
};

// Packs num_rows <= row_tile rows of x. Sizes: packed_row_bytes() of linear_pack.h.
using PackRows = void(const float* x, int64_t stride, int num_rows, int64_t columns, uint8_t* out);

struct CpuKernels {
  const char* name;
  int row_tile;

  PackRows* pack_rows[kNumRowCodes];
  // Null where rows of that kind do not go with that format.
  void (*linear[kNumRowCodes][kNumWeightCodes])(const LinearTile& tile);

  void (*decode_split[kNumKvCodes])(const DecodeSplit& split);
  void (*merge_splits)(const DecodeMerge& merge);
  void (*prefill[kNumKvCodes])(const PrefillItem& item);
  void (*page_scores)(const ScoreItem& item);
  int64_t (*decode_scratch_floats)(int64_t group, int64_t head_dim);
  int64_t (*prefill_scratch_floats)(int64_t num_rows, int64_t head_dim);

  void (*rms_norm)(const float* x, const float* weight, int64_t n, float epsilon, float* out);
  void (*silu_mul)(const float* gate, const float* up, int64_t n, float* out);
  // One head in place; cos_sin: head_dim / 2 cosines, then as many sines.
  void (*rope)(float* x, const float* cos_sin, int64_t head_dim);
};

const CpuKernels& generic_kernels();
const CpuKernels& avx2_kernels();
const CpuKernels& avx512_kernels();
const CpuKernels& avx512_bf16_kernels();

}  // namespace lserve::cpu
