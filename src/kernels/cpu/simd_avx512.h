// The vector vocabulary of the kernels, in AVX-512 (F, BW, DQ, VL, VNNI). simd_avx2.h and
// simd_generic.h define the same names; a kernel file (*.inl.h) is written once over them.
//
// Where an operand is NaN, max and min return their second argument.
#pragma once

// GCC 12 takes the "undefined" vectors of its own header for a mistake (GCC bug 105593).
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop

#include <cstdint>

namespace lserve::cpu {
namespace {

using F32 = __m512;
using I32 = __m512i;

constexpr int kLanes = 16;
constexpr int kRowTile = 16;       // rows of a linear tile: 16 sums, 8 weight vectors, 8 to spare
constexpr int kAttentionVecs = 4;  // prefill tile: 4 keys x 4 vectors of query rows
constexpr int kDecodeHeads = 4;    // decode tile: 4 keys x 4 query heads
constexpr float kExp2Zero = -200.0F;  // scale_exp2(a, kExp2Zero) is 0
#ifdef __AVX512BF16__
constexpr const char* kIsaName = "avx512 (vnni, bf16)";
#else
constexpr const char* kIsaName = "avx512 (vnni)";
#endif

inline F32 zero() { return _mm512_setzero_ps(); }
inline F32 set1(float x) { return _mm512_set1_ps(x); }
inline F32 load(const float* p) { return _mm512_loadu_ps(p); }
inline void store(float* p, F32 x) { _mm512_storeu_ps(p, x); }
inline __mmask16 first_lanes(int64_t n) { return static_cast<__mmask16>((1U << n) - 1); }
// The first n lanes, 0 < n < kLanes; the others are zero.
inline F32 load_partial(const float* p, int64_t n) {
  return _mm512_maskz_loadu_ps(first_lanes(n), p);
}
inline void store_partial(float* p, F32 x, int64_t n) {
  _mm512_mask_storeu_ps(p, first_lanes(n), x);
}
inline F32 load_bf16(const uint16_t* p) {
  const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
// 2 * kLanes numbers: those at even places, and those at odd ones. Cheaper than in order.
inline void load_bf16_pair(const uint16_t* p, F32* even, F32* odd) {
  const __m512i both = _mm512_loadu_si512(p);
  *even = _mm512_castsi512_ps(_mm512_slli_epi32(both, 16));
  *odd = _mm512_castsi512_ps(_mm512_and_si512(both, _mm512_set1_epi32(-65536)));
}
inline F32 load_f16(const uint16_t* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p));
}
inline F32 load_u8(const uint8_t* p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)p)));
}
// Codes of four bits, two a byte, the first in the low half. The permutation looks at the low four
// bits of a lane only.
inline F32 nibbles_to_f32(__m512i x) {
  const F32 numbers = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  return _mm512_permutexvar_ps(x, numbers);
}
inline F32 load_u4(const uint8_t* p) {
  int64_t codes;
  __builtin_memcpy(&codes, p, sizeof(codes));
  const __m512i shifts =
      _mm512_setr_epi64(0, 8, 16, 24, 32, 40, 48, 56);  // a byte for each pair of lanes
  const __m512i bytes = _mm512_srlv_epi64(_mm512_set1_epi64(codes), shifts);
  const __m512i low = _mm512_and_si512(bytes, _mm512_set1_epi64(0xF));
  return nibbles_to_f32(_mm512_or_si512(low, _mm512_slli_epi64(_mm512_srli_epi64(bytes, 4), 32)));
}
// kLanes pairs of f16: their first numbers, and their second ones.
inline void load_f16_pair(const uint16_t* p, F32* first, F32* second) {
  const __m512i both = _mm512_loadu_si512(p);
  *first = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(both));
  *second = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32(both, 16)));
}
inline F32 load_i8(const uint8_t* p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)p)));
}
inline float half_to_float(uint16_t x) { return _cvtsh_ss(x); }
// Rounded to nearest even; -128 <= x <= 127, or any byte for NaN.
inline void store_i8(int8_t* p, F32 x) {
  _mm_storeu_si128((__m128i*)p, _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(x)));
}

inline F32 add(F32 a, F32 b) { return _mm512_add_ps(a, b); }
inline F32 sub(F32 a, F32 b) { return _mm512_sub_ps(a, b); }
inline F32 mul(F32 a, F32 b) { return _mm512_mul_ps(a, b); }
inline F32 div(F32 a, F32 b) { return _mm512_div_ps(a, b); }
inline F32 fma(F32 a, F32 b, F32 c) { return _mm512_fmadd_ps(a, b, c); }
inline F32 max(F32 a, F32 b) { return _mm512_max_ps(a, b); }
inline F32 min(F32 a, F32 b) { return _mm512_min_ps(a, b); }
inline F32 abs(F32 a) { return _mm512_abs_ps(a); }
inline float reduce_add(F32 a) { return _mm512_reduce_add_ps(a); }
inline float reduce_max(F32 a) { return _mm512_reduce_max_ps(a); }
inline F32 round_nearest(F32 a) { return _mm512_roundscale_ps(a, 0); }
// a * 2^n for integral n.
inline F32 scale_exp2(F32 a, F32 n) { return _mm512_scalef_ps(a, n); }
// Per lane: low <= t < high ? yes : no.
inline F32 if_between(F32 t, F32 low, F32 high, F32 yes, F32 no) {
  const __mmask16 above = _mm512_cmp_ps_mask(t, low, _CMP_GE_OQ);
  return _mm512_mask_blend_ps(_mm512_mask_cmp_ps_mask(above, t, high, _CMP_LT_OQ), no, yes);
}
// out[i] = the sum of the lanes of the i-th vector.
inline void reduce_add_4(F32 a, F32 b, F32 c, F32 d, float* out) {
  const F32 ab = add(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
  const F32 cd = add(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
  const F32 abcd = add(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xEE));
  const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(abcd), _mm512_extractf32x8_ps(abcd, 1));
  _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1)));
}
// Likewise of integers, times a number; the sums must fit 32 bits.
inline void reduce_add_4(I32 a, I32 b, I32 c, I32 d, float times, float* out) {
  const I32 ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
  const I32 cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
  const I32 abcd = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
  const __m256i half =
      _mm256_add_epi32(_mm512_castsi512_si256(abcd), _mm512_extracti32x8_epi32(abcd, 1));
  const __m128i sums =
      _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
  _mm_storeu_ps(out, _mm_mul_ps(_mm_cvtepi32_ps(sums), _mm_set1_ps(times)));
}
// The largest lane of each.
inline void reduce_max_4(F32 a, F32 b, F32 c, F32 d, float* out) {
  const F32 ab = max(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
  const F32 cd = max(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
  const F32 abcd = max(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xEE));
  const __m256 half = _mm256_max_ps(_mm512_castps512_ps256(abcd), _mm512_extractf32x8_ps(abcd, 1));
  _mm_storeu_ps(out, _mm_max_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1)));
}

inline F32 to_f32(I32 a) { return _mm512_cvtepi32_ps(a); }
inline I32 set1_i32(int32_t x) { return _mm512_set1_epi32(x); }
// The nearest integers, ties to even.
inline I32 to_i32(F32 a) { return _mm512_cvtps_epi32(a); }
inline void store_i16(int16_t* p, I32 x) {
  _mm256_storeu_si256((__m256i*)p, _mm512_cvtsepi32_epi16(x));
}

// Vectors of 2 * kLanes words, for products of 16-bit integers that are summed in pairs.
inline I32 load_words(const int16_t* p) { return _mm512_loadu_si512(p); }
// Per lane: sum + a.low * b.low + a.high * b.high.
inline I32 add_products(I32 sum, I32 a, I32 b) { return _mm512_dpwssd_epi32(sum, a, b); }
// 4 * kLanes codes of a row; of four bits: those at even places, then those at odd ones.
inline void load_u8_words(const uint8_t* p, I32* first, I32* second) {
  *first = _mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i*)p));
  *second = _mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i*)(p + 32)));
}
inline void load_u4_words(const uint8_t* p, I32* even, I32* odd) {
  const __m512i bytes = _mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i*)p));
  *even = _mm512_and_si512(bytes, _mm512_set1_epi16(0xF));
  *odd = _mm512_srli_epi16(bytes, 4);
}
// 4 * kLanes codes of two rows, a lane holding both rows' of a channel, in the order of
// pair_channel (kv_load.inl.h).
inline void pair_u8(const uint8_t* first, const uint8_t* second, I32 (&out)[4]) {
  const __m512i a = _mm512_loadu_si512(first);
  const __m512i b = _mm512_loadu_si512(second);
  const __m512i low = _mm512_unpacklo_epi8(a, b);
  const __m512i high = _mm512_unpackhi_epi8(a, b);
  out[0] = _mm512_unpacklo_epi8(low, _mm512_setzero_si512());
  out[1] = _mm512_unpackhi_epi8(low, _mm512_setzero_si512());
  out[2] = _mm512_unpacklo_epi8(high, _mm512_setzero_si512());
  out[3] = _mm512_unpackhi_epi8(high, _mm512_setzero_si512());
}
inline void pair_u4(const uint8_t* first, const uint8_t* second, I32 (&out)[4]) {
  const __m512i a = _mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i*)first));
  const __m512i b = _mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i*)second));
  const __m512i low = _mm512_unpacklo_epi16(a, b);
  const __m512i high = _mm512_unpackhi_epi16(a, b);
  out[0] = _mm512_and_si512(low, _mm512_set1_epi16(0xF));
  out[1] = _mm512_srli_epi16(low, 4);
  out[2] = _mm512_and_si512(high, _mm512_set1_epi16(0xF));
  out[3] = _mm512_srli_epi16(high, 4);
}
inline I32 set1_i32(const int8_t* four) {
  int32_t value;
  __builtin_memcpy(&value, four, sizeof(value));
  return _mm512_set1_epi32(value);
}

#ifdef __AVX512BF16__
// Lanes of two bf16 numbers, the first in the low half.
using Bf16Pairs = __m512i;
constexpr uint32_t kPairOfOnes = 0x3F803F80;

inline Bf16Pairs load_pairs(const uint32_t* p) { return _mm512_loadu_si512(p); }
inline void store_pairs(uint32_t* p, Bf16Pairs x) { _mm512_storeu_si512(p, x); }
inline Bf16Pairs set1_pair(uint32_t pair) { return _mm512_set1_epi32(static_cast<int>(pair)); }
// Both numbers must be bf16 already.
inline Bf16Pairs exact_pairs(F32 first, F32 second) {
  return _mm512_or_si512(_mm512_srli_epi32(_mm512_castps_si512(first), 16),
                         _mm512_castps_si512(second));
}
// Rounded to nearest even; subnormal numbers become zero.
inline Bf16Pairs to_pairs(F32 first, F32 second) {
  const auto low = (__m256i)_mm512_cvtneps_pbh(first);
  const auto high = (__m256i)_mm512_cvtneps_pbh(second);
  return _mm512_or_si512(_mm512_cvtepu16_epi32(low),
                         _mm512_slli_epi32(_mm512_cvtepu16_epi32(high), 16));
}
// Per lane: sum + a.first * b.first + a.second * b.second.
inline F32 dot_pairs(F32 sum, Bf16Pairs a, Bf16Pairs b) {
  return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
}
// The numbers of a pair, each alone in its place: for masks that choose per lane.
inline F32 first_alone(Bf16Pairs a) {
  return _mm512_castsi512_ps(_mm512_and_si512(a, _mm512_set1_epi32(0xFFFF)));
}
inline F32 second_alone(Bf16Pairs a) {
  return _mm512_castsi512_ps(_mm512_and_si512(a, _mm512_set1_epi32(-65536)));
}
inline Bf16Pairs join(F32 first, F32 second) {
  return _mm512_castps_si512(_mm512_or_ps(first, second));
}
#endif

inline I32 add(I32 a, I32 b) { return _mm512_add_epi32(a, b); }
inline I32 times_128(I32 a) { return _mm512_slli_epi32(a, 7); }
// Pairs of 16-bit numbers: a, which must fit, and high.
inline I32 pairs(I32 a, int16_t high) { return _mm512_mask_set1_epi16(a, 0xAAAAAAAA, high); }
// Per lane: a's pair times the pair at `pair`.
inline I32 dot_pairs(I32 a, const int16_t* pair) {
  int32_t both;
  __builtin_memcpy(&both, pair, sizeof(both));
  return _mm512_madd_epi16(a, _mm512_set1_epi32(both));
}

// The codes of kLanes weight rows in one block of 32 columns (linear_pack.h), held in registers.
// dot<kFirst, kCount>(a, start): in every lane start + the sum of code * a over the columns of the
// 4-byte words from kFirst on. sum: likewise with a = 1.
// Two chains: a long one is all latency.
template <int kFirst, int kCount>
inline I32 dot_words(const __m512i (&w)[8], const int8_t* a, I32 start) {
  __m512i low = _mm512_setzero_si512();
  __m512i high = start;
#pragma GCC unroll 8
  for (int i = kFirst; i < kFirst + kCount / 2; ++i) {
    low = _mm512_dpbusd_epi32(low, w[i], set1_i32(a + 4 * i));
    high = _mm512_dpbusd_epi32(high, w[i + kCount / 2], set1_i32(a + 4 * i + 2 * kCount));
  }
  return _mm512_add_epi32(low, high);
}

struct Codes4 {
  explicit Codes4(const uint8_t* codes) {
    const __m512i low_half = _mm512_set1_epi8(0x0F);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const __m512i both = _mm512_loadu_si512(codes + i * 64);
      w[i] = _mm512_and_si512(both, low_half);
      w[i + 4] = _mm512_and_si512(_mm512_srli_epi16(both, 4), low_half);
    }
  }
  template <int kFirst, int kCount>
  I32 dot(const int8_t* a, I32 start) const {
    return dot_words<kFirst, kCount>(w, a, start);
  }
  template <int kFirst, int kCount>
  I32 sum(I32 start) const {
    __m512i bytes = w[kFirst];  // at most 8 * 15
#pragma GCC unroll 8
    for (int i = kFirst + 1; i < kFirst + kCount; ++i) bytes = _mm512_add_epi8(bytes, w[i]);
    return _mm512_dpbusd_epi32(start, bytes, _mm512_set1_epi8(1));
  }
  __m512i w[8];
};

// 4 bits of each code in four vectors, the high 2 bits of four vectors of codes in one.
struct Codes6 {
  explicit Codes6(const uint8_t* codes) {
    const __m512i low_half = _mm512_set1_epi8(0x0F);
    const __m512i high_bits = _mm512_set1_epi8(0x30);
    const __m512i first = _mm512_loadu_si512(codes + 4 * 64);
    const __m512i second = _mm512_loadu_si512(codes + 5 * 64);
    const __m512i high[8] = {_mm512_slli_epi16(first, 4),
                             _mm512_slli_epi16(first, 2),
                             first,
                             _mm512_srli_epi16(first, 2),
                             _mm512_slli_epi16(second, 4),
                             _mm512_slli_epi16(second, 2),
                             second,
                             _mm512_srli_epi16(second, 2)};
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const __m512i both = _mm512_loadu_si512(codes + i * 64);
      w[i] = join(_mm512_and_si512(both, low_half), high[i], high_bits);
      const __m512i upper = _mm512_and_si512(_mm512_srli_epi16(both, 4), low_half);
      w[i + 4] = join(upper, high[i + 4], high_bits);
    }
  }
  // a | (b & mask)
  static __m512i join(__m512i a, __m512i b, __m512i mask) {
    return _mm512_ternarylogic_epi32(a, b, mask, 0xF8);
  }
  template <int kFirst, int kCount>
  I32 dot(const int8_t* a, I32 start) const {
    return dot_words<kFirst, kCount>(w, a, start);
  }
  template <int kFirst, int kCount>
  I32 sum(I32 start) const {
    static_assert(kCount * 63 < 256, "the sums of bytes do not overflow");
    __m512i bytes = w[kFirst];
#pragma GCC unroll 8
    for (int i = kFirst + 1; i < kFirst + kCount; ++i) bytes = _mm512_add_epi8(bytes, w[i]);
    return _mm512_dpbusd_epi32(start, bytes, _mm512_set1_epi8(1));
  }
  __m512i w[8];
};

struct Codes8 {
  explicit Codes8(const uint8_t* codes) {
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) w[i] = _mm512_loadu_si512(codes + i * 64);
  }
  template <int kFirst, int kCount>
  I32 dot(const int8_t* a, I32 start) const {
    return dot_words<kFirst, kCount>(w, a, start);
  }
  template <int kFirst, int kCount>
  I32 sum(I32 start) const {
#pragma GCC unroll 8
    for (int i = kFirst; i < kFirst + kCount; ++i) {
      start = _mm512_dpbusd_epi32(start, w[i], _mm512_set1_epi8(1));
    }
    return start;
  }
  __m512i w[8];
};

}  // namespace
}  // namespace lserve::cpu
