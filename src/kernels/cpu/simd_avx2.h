// The vector vocabulary of the kernels, in AVX2 with FMA and F16C; see simd_avx512.h.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace lserve::cpu {
namespace {

using F32 = __m256;
using I32 = __m256i;

constexpr int kLanes = 8;
constexpr int kRowTile = 4;           // 4 sums, 8 weight vectors, 4 to spare
constexpr int kAttentionVecs = 3;     // prefill tile: 4 keys x 3 vectors of query rows
constexpr int kDecodeHeads = 2;       // decode tile: 4 keys x 2 query heads
constexpr float kExp2Zero = -127.0F;  // scale_exp2(a, kExp2Zero) is 0
constexpr const char* kIsaName = "avx2";

inline F32 zero() { return _mm256_setzero_ps(); }
inline F32 set1(float x) { return _mm256_set1_ps(x); }
inline F32 load(const float* p) { return _mm256_loadu_ps(p); }
inline void store(float* p, F32 x) { _mm256_storeu_ps(p, x); }
inline __m256i first_lanes(int64_t n) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lane);
}
inline F32 load_partial(const float* p, int64_t n) { return _mm256_maskload_ps(p, first_lanes(n)); }
inline void store_partial(float* p, F32 x, int64_t n) { _mm256_maskstore_ps(p, first_lanes(n), x); }
inline F32 load_bf16(const uint16_t* p) {
  const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}
inline void load_bf16_pair(const uint16_t* p, F32* even, F32* odd) {
  const __m256i both = _mm256_loadu_si256((const __m256i*)p);
  *even = _mm256_castsi256_ps(_mm256_slli_epi32(both, 16));
  *odd = _mm256_castsi256_ps(_mm256_and_si256(both, _mm256_set1_epi32(-65536)));
}
inline F32 load_f16(const uint16_t* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p));
}
inline F32 load_u8(const uint8_t* p) {
  return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)p)));
}
inline F32 nibbles_to_f32(__m256i x) {
  return _mm256_cvtepi32_ps(_mm256_and_si256(x, _mm256_set1_epi32(0xF)));
}
inline F32 load_u4(const uint8_t* p) {
  int32_t codes;
  __builtin_memcpy(&codes, p, sizeof(codes));
  const __m256i shifts = _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28);
  return nibbles_to_f32(_mm256_srlv_epi32(_mm256_set1_epi32(codes), shifts));
}
inline void load_f16_pair(const uint16_t* p, F32* first, F32* second) {
  const __m256i both = _mm256_loadu_si256((const __m256i*)p);
  const auto narrow = [](__m256i x) {  // what is in the low halves
    return _mm_packus_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
  };
  *first = _mm256_cvtph_ps(narrow(_mm256_and_si256(both, _mm256_set1_epi32(0xFFFF))));
  *second = _mm256_cvtph_ps(narrow(_mm256_srli_epi32(both, 16)));
}
inline F32 load_i8(const uint8_t* p) {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i*)p)));
}
inline float half_to_float(uint16_t x) { return _cvtsh_ss(x); }
inline void store_i8(int8_t* p, F32 x) {
  const __m256i wide = _mm256_cvtps_epi32(x);
  const __m128i words =
      _mm_packs_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1));
  _mm_storel_epi64((__m128i*)p, _mm_packs_epi16(words, words));
}

inline F32 add(F32 a, F32 b) { return _mm256_add_ps(a, b); }
inline F32 sub(F32 a, F32 b) { return _mm256_sub_ps(a, b); }
inline F32 mul(F32 a, F32 b) { return _mm256_mul_ps(a, b); }
inline F32 div(F32 a, F32 b) { return _mm256_div_ps(a, b); }
inline F32 fma(F32 a, F32 b, F32 c) { return _mm256_fmadd_ps(a, b, c); }
inline F32 max(F32 a, F32 b) { return _mm256_max_ps(a, b); }
inline F32 min(F32 a, F32 b) { return _mm256_min_ps(a, b); }
inline F32 abs(F32 a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0F), a); }
inline float reduce_add(F32 a) {
  __m128 x = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  x = _mm_add_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}
inline float reduce_max(F32 a) {
  __m128 x = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  x = _mm_max_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)));
}
inline F32 round_nearest(F32 a) {
  return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
// a * 2^n for integral n in -127 ... 127; 0 for n = -127.
inline F32 scale_exp2(F32 a, F32 n) {
  const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
  return mul(a, _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23)));
}
inline F32 if_between(F32 t, F32 low, F32 high, F32 yes, F32 no) {
  const F32 inside =
      _mm256_and_ps(_mm256_cmp_ps(t, low, _CMP_GE_OQ), _mm256_cmp_ps(t, high, _CMP_LT_OQ));
  return _mm256_blendv_ps(no, yes, inside);
}
inline void reduce_add_4(F32 a, F32 b, F32 c, F32 d, float* out) {
  const F32 abcd = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
  _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(abcd), _mm256_extractf128_ps(abcd, 1)));
}
inline void reduce_add_4(I32 a, I32 b, I32 c, I32 d, float times, float* out) {
  const I32 abcd = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
  const __m128i sums =
      _mm_add_epi32(_mm256_castsi256_si128(abcd), _mm256_extracti128_si256(abcd, 1));
  _mm_storeu_ps(out, _mm_mul_ps(_mm_cvtepi32_ps(sums), _mm_set1_ps(times)));
}
inline void reduce_max_4(F32 a, F32 b, F32 c, F32 d, float* out) {
  const F32 ab = max(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
  const F32 cd = max(_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
  const F32 abcd = max(_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xEE));
  _mm_storeu_ps(out, _mm_max_ps(_mm256_castps256_ps128(abcd), _mm256_extractf128_ps(abcd, 1)));
}

inline F32 to_f32(I32 a) { return _mm256_cvtepi32_ps(a); }
inline I32 set1_i32(int32_t x) { return _mm256_set1_epi32(x); }
inline I32 to_i32(F32 a) { return _mm256_cvtps_epi32(a); }
inline void store_i16(int16_t* p, I32 x) {
  _mm_storeu_si128((__m128i*)p,
                   _mm_packs_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1)));
}

inline I32 load_words(const int16_t* p) { return _mm256_loadu_si256((const __m256i*)p); }
inline I32 add_products(I32 sum, I32 a, I32 b) {
  return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
}
inline void load_u8_words(const uint8_t* p, I32* first, I32* second) {
  *first = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i*)p));
  *second = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i*)(p + 16)));
}
inline void load_u4_words(const uint8_t* p, I32* even, I32* odd) {
  const __m256i bytes = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i*)p));
  *even = _mm256_and_si256(bytes, _mm256_set1_epi16(0xF));
  *odd = _mm256_srli_epi16(bytes, 4);
}
inline void pair_u8(const uint8_t* first, const uint8_t* second, I32 (&out)[4]) {
  const __m256i a = _mm256_loadu_si256((const __m256i*)first);
  const __m256i b = _mm256_loadu_si256((const __m256i*)second);
  const __m256i low = _mm256_unpacklo_epi8(a, b);
  const __m256i high = _mm256_unpackhi_epi8(a, b);
  out[0] = _mm256_unpacklo_epi8(low, _mm256_setzero_si256());
  out[1] = _mm256_unpackhi_epi8(low, _mm256_setzero_si256());
  out[2] = _mm256_unpacklo_epi8(high, _mm256_setzero_si256());
  out[3] = _mm256_unpackhi_epi8(high, _mm256_setzero_si256());
}
inline void pair_u4(const uint8_t* first, const uint8_t* second, I32 (&out)[4]) {
  const __m256i a = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i*)first));
  const __m256i b = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i*)second));
  const __m256i low = _mm256_unpacklo_epi16(a, b);
  const __m256i high = _mm256_unpackhi_epi16(a, b);
  out[0] = _mm256_and_si256(low, _mm256_set1_epi16(0xF));
  out[1] = _mm256_srli_epi16(low, 4);
  out[2] = _mm256_and_si256(high, _mm256_set1_epi16(0xF));
  out[3] = _mm256_srli_epi16(high, 4);
}
inline I32 set1_i32(const int8_t* four) {
  int32_t value;
  __builtin_memcpy(&value, four, sizeof(value));
  return _mm256_set1_epi32(value);
}
inline I32 add(I32 a, I32 b) { return _mm256_add_epi32(a, b); }
inline I32 times_128(I32 a) { return _mm256_slli_epi32(a, 7); }
inline I32 pairs(I32 a, int16_t high) {
  return _mm256_blend_epi16(a, _mm256_set1_epi16(high), 0xAA);
}
inline I32 dot_pairs(I32 a, const int16_t* pair) {
  int32_t both;
  __builtin_memcpy(&both, pair, sizeof(both));
  return _mm256_madd_epi16(a, _mm256_set1_epi32(both));
}

// The sum of nibble * a over some words. One maddubs is at most 2 * 15 * 128 in magnitude, so eight
// of them fit 16 bits.
template <int kFirst, int kCount>
inline I32 dot_nibbles(const __m256i (&w)[8], const int8_t* a) {
  __m256i sum = _mm256_maddubs_epi16(w[kFirst], set1_i32(a + 4 * kFirst));
#pragma GCC unroll 8
  for (int i = kFirst + 1; i < kFirst + kCount; ++i) {
    sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(w[i], set1_i32(a + 4 * i)));
  }
  return _mm256_madd_epi16(sum, _mm256_set1_epi16(1));
}

// The sum of the bytes of some words, which must fit 8 bits in each place before it is widened.
template <int kFirst, int kCount>
inline I32 sum_small(const __m256i (&w)[8]) {
  __m256i bytes = w[kFirst];
#pragma GCC unroll 8
  for (int i = kFirst + 1; i < kFirst + kCount; ++i) bytes = _mm256_add_epi8(bytes, w[i]);
  const __m256i words = _mm256_maddubs_epi16(bytes, _mm256_set1_epi8(1));
  return _mm256_madd_epi16(words, _mm256_set1_epi16(1));
}

struct Codes4 {
  explicit Codes4(const uint8_t* codes) {
    const __m256i low_half = _mm256_set1_epi8(0x0F);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const __m256i both = _mm256_loadu_si256((const __m256i*)(codes + i * 64));
      w[i] = _mm256_and_si256(both, low_half);
      w[i + 4] = _mm256_and_si256(_mm256_srli_epi16(both, 4), low_half);
    }
  }
  template <int kFirst, int kCount>
  I32 dot(const int8_t* a, I32 start) const {
    return _mm256_add_epi32(start, dot_nibbles<kFirst, kCount>(w, a));
  }
  template <int kFirst, int kCount>
  I32 sum(I32 start) const {
    return _mm256_add_epi32(start, sum_small<kFirst, kCount>(w));
  }
  __m256i w[8];
};

// 4 bits of each code in four vectors, the high 2 bits of four vectors of codes in one.
struct Codes6 {
  explicit Codes6(const uint8_t* codes) {
    const __m256i low_half = _mm256_set1_epi8(0x0F);
    const __m256i first = _mm256_loadu_si256((const __m256i*)(codes + 4 * 64));
    const __m256i second = _mm256_loadu_si256((const __m256i*)(codes + 5 * 64));
    const __m256i high[8] = {_mm256_slli_epi16(first, 4),
                             _mm256_slli_epi16(first, 2),
                             first,
                             _mm256_srli_epi16(first, 2),
                             _mm256_slli_epi16(second, 4),
                             _mm256_slli_epi16(second, 2),
                             second,
                             _mm256_srli_epi16(second, 2)};
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const __m256i both = _mm256_loadu_si256((const __m256i*)(codes + i * 64));
      w[i] = join(_mm256_and_si256(both, low_half), high[i]);
      w[i + 4] = join(_mm256_and_si256(_mm256_srli_epi16(both, 4), low_half), high[i + 4]);
    }
  }
  static __m256i join(__m256i low, __m256i high) {
    return _mm256_or_si256(low, _mm256_and_si256(high, _mm256_set1_epi8(0x30)));
  }
  // Two maddubs are at most 2 * 2 * 63 * 128 in magnitude, which fits 16 bits.
  template <int kFirst, int kCount>
  I32 dot(const int8_t* a, I32 start) const {
#pragma GCC unroll 8
    for (int i = kFirst; i < kFirst + kCount; i += 2) {
      const __m256i sum = _mm256_add_epi16(_mm256_maddubs_epi16(w[i], set1_i32(a + 4 * i)),
                                           _mm256_maddubs_epi16(w[i + 1], set1_i32(a + 4 * i + 4)));
      start = _mm256_add_epi32(start, _mm256_madd_epi16(sum, _mm256_set1_epi16(1)));
    }
    return start;
  }
  template <int kFirst, int kCount>
  I32 sum(I32 start) const {
    static_assert(kCount * 63 < 256, "the sums of bytes do not overflow");
    return _mm256_add_epi32(start, sum_small<kFirst, kCount>(w));
  }
  __m256i w[8];
};

// 8-bit codes as two nibbles: maddubs on whole bytes could saturate.
struct Codes8 {
  explicit Codes8(const uint8_t* codes) {
    const __m256i low_half = _mm256_set1_epi8(0x0F);
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
      const __m256i both = _mm256_loadu_si256((const __m256i*)(codes + i * 64));
      low[i] = _mm256_and_si256(both, low_half);
      high[i] = _mm256_and_si256(_mm256_srli_epi16(both, 4), low_half);
    }
  }
  template <int kFirst, int kCount>
  I32 dot(const int8_t* a, I32 start) const {
    const I32 sum = _mm256_add_epi32(start, dot_nibbles<kFirst, kCount>(low, a));
    return _mm256_add_epi32(sum, _mm256_slli_epi32(dot_nibbles<kFirst, kCount>(high, a), 4));
  }
  template <int kFirst, int kCount>
  I32 sum(I32 start) const {
    const I32 sum = _mm256_add_epi32(start, sum_small<kFirst, kCount>(low));
    return _mm256_add_epi32(sum, _mm256_slli_epi32(sum_small<kFirst, kCount>(high), 4));
  }
  __m256i low[8];
  __m256i high[8];
};

}  // namespace
}  // namespace lserve::cpu
