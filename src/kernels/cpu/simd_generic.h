// The vector vocabulary of the kernels in plain C++ (four lanes of the compiler's vector type,
// which every 64-bit machine has); see simd_avx512.h. fma rounds twice here.
#pragma once

#include <cstdint>

namespace lserve::cpu {
namespace {

typedef float F32 __attribute__((vector_size(16)));
typedef int32_t I32 __attribute__((vector_size(16)));

constexpr int kLanes = 4;
constexpr int kRowTile = 4;
constexpr int kAttentionVecs = 2;
constexpr int kDecodeHeads = 2;
constexpr float kExp2Zero = -127.0F;  // scale_exp2(a, kExp2Zero) is 0
constexpr const char* kIsaName = "generic";

inline F32 zero() { return F32{0, 0, 0, 0}; }
inline F32 set1(float x) { return F32{x, x, x, x}; }
inline F32 load(const float* p) {
  F32 x;
  __builtin_memcpy(&x, p, sizeof(x));
  return x;
}
inline void store(float* p, F32 x) { __builtin_memcpy(p, &x, sizeof(x)); }
inline F32 load_partial(const float* p, int64_t n) {
  F32 x = zero();
  for (int64_t i = 0; i < n; ++i) x[i] = p[i];
  return x;
}
inline void store_partial(float* p, F32 x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) p[i] = x[i];
}
inline float from_bits(uint32_t bits) {
  float x;
  __builtin_memcpy(&x, &bits, sizeof(x));
  return x;
}
inline F32 load_bf16(const uint16_t* p) {
  I32 bits;
  for (int i = 0; i < kLanes; ++i) bits[i] = static_cast<int32_t>(uint32_t{p[i]} << 16);
  return (F32)bits;
}
inline void load_bf16_pair(const uint16_t* p, F32* even, F32* odd) {
  I32 both;  // little-endian: the even numbers are the low halves
  __builtin_memcpy(&both, p, sizeof(both));
  *even = (F32)(both << 16);
  *odd = (F32)(both & -65536);
}
// Shifted into place the exponent is 112 too small; the multiplication mends it, and subnormals.
inline float half_to_float(uint16_t x) {
  const uint32_t sign = (x & 0x8000U) << 16;
  const uint32_t magnitude = x & 0x7FFFU;
  if (magnitude >= 0x7C00) return from_bits(sign | 0x7F800000U | ((magnitude & 0x3FFU) << 13));
  const float scaled = from_bits(magnitude << 13) * 0x1p112F;
  return sign != 0 ? -scaled : scaled;
}
inline F32 load_f16(const uint16_t* p) {
  return F32{half_to_float(p[0]), half_to_float(p[1]), half_to_float(p[2]), half_to_float(p[3])};
}
inline F32 load_u8(const uint8_t* p) {
  F32 x;
  for (int i = 0; i < kLanes; ++i) x[i] = static_cast<float>(p[i]);
  return x;
}
inline F32 load_u4(const uint8_t* p) {
  F32 x;
  for (int i = 0; i < kLanes; ++i) x[i] = static_cast<float>(p[i / 2] >> (i % 2 * 4) & 15);
  return x;
}
inline void load_f16_pair(const uint16_t* p, F32* first, F32* second) {
  for (int i = 0; i < kLanes; ++i) {
    (*first)[i] = half_to_float(p[2 * i]);
    (*second)[i] = half_to_float(p[2 * i + 1]);
  }
}
inline F32 load_i8(const uint8_t* p) {
  F32 x;
  for (int i = 0; i < kLanes; ++i) x[i] = static_cast<float>(static_cast<int8_t>(p[i]));
  return x;
}

inline F32 add(F32 a, F32 b) { return a + b; }
inline F32 sub(F32 a, F32 b) { return a - b; }
inline F32 mul(F32 a, F32 b) { return a * b; }
inline F32 div(F32 a, F32 b) { return a / b; }
inline F32 fma(F32 a, F32 b, F32 c) { return a * b + c; }
inline F32 max(F32 a, F32 b) { return a > b ? a : b; }
inline F32 min(F32 a, F32 b) { return a < b ? a : b; }
inline F32 abs(F32 a) { return (F32)((I32)a & 0x7FFFFFFF); }
inline float reduce_add(F32 a) { return (a[0] + a[2]) + (a[1] + a[3]); }
inline float reduce_max(F32 a) {
  const float x = a[0] > a[2] ? a[0] : a[2];
  const float y = a[1] > a[3] ? a[1] : a[3];
  return x > y ? x : y;
}
// |a| < 2^22: adding 1.5 * 2^23 leaves no fraction bits.
inline F32 round_nearest(F32 a) { return (a + 0x1.8p23F) - 0x1.8p23F; }
// a * 2^n for integral n in -127 ... 127; 0 for n = -127.
inline F32 scale_exp2(F32 a, F32 n) {
  const I32 exponent = (I32)(n + 0x1.8p23F) - 0x4B400000 + 127;
  return a * (F32)(exponent << 23);
}
inline F32 if_between(F32 t, F32 low, F32 high, F32 yes, F32 no) {
  return ((t >= low) & (t < high)) ? yes : no;
}
inline void reduce_add_4(F32 a, F32 b, F32 c, F32 d, float* out) {
  out[0] = reduce_add(a);
  out[1] = reduce_add(b);
  out[2] = reduce_add(c);
  out[3] = reduce_add(d);
}
inline void reduce_add_4(I32 a, I32 b, I32 c, I32 d, float times, float* out) {
  const I32 of_4[4] = {a, b, c, d};
  for (int i = 0; i < 4; ++i) {
    const int sum = of_4[i][0] + of_4[i][1] + of_4[i][2] + of_4[i][3];
    out[i] = static_cast<float>(sum) * times;
  }
}
inline void reduce_max_4(F32 a, F32 b, F32 c, F32 d, float* out) {
  out[0] = reduce_max(a);
  out[1] = reduce_max(b);
  out[2] = reduce_max(c);
  out[3] = reduce_max(d);
}
inline void store_i8(int8_t* p, F32 x) {
  const F32 whole = round_nearest(x);
  for (int i = 0; i < kLanes; ++i) {
    p[i] = whole[i] == whole[i] ? static_cast<int8_t>(whole[i]) : int8_t{0};
  }
}

inline F32 to_f32(I32 a) { return __builtin_convertvector(a, F32); }
inline I32 set1_i32(int32_t x) { return I32{x, x, x, x}; }
// |a| < 2^22, as in round_nearest; any integer for what is not.
inline I32 to_i32(F32 a) { return (I32)(a + 0x1.8p23F) - 0x4B400000; }
inline void store_i16(int16_t* p, I32 x) {
  for (int i = 0; i < kLanes; ++i) p[i] = static_cast<int16_t>(x[i]);
}

inline I32 load_words(const int16_t* p) {
  I32 x;
  __builtin_memcpy(&x, p, sizeof(x));
  return x;
}
inline I32 add_products(I32 sum, I32 a, I32 b) {
  return sum + ((a << 16) >> 16) * ((b << 16) >> 16) + (a >> 16) * (b >> 16);
}
inline I32 load_bytes(const uint8_t* p, int step) {
  return I32{p[0], p[step], p[2 * step], p[3 * step]};
}
inline void load_u8_words(const uint8_t* p, I32* first, I32* second) {
  *first = load_bytes(p, 2) | load_bytes(p + 1, 2) << 16;
  *second = load_bytes(p + 8, 2) | load_bytes(p + 9, 2) << 16;
}
inline void load_u4_words(const uint8_t* p, I32* even, I32* odd) {
  const I32 bytes = load_bytes(p, 2) | load_bytes(p + 1, 2) << 16;
  *even = bytes & 0x000F000F;
  *odd = bytes >> 4 & 0x000F000F;
}
inline void pair_u8(const uint8_t* first, const uint8_t* second, I32 (&out)[4]) {
  for (int v = 0; v < 4; ++v) {
    out[v] = load_bytes(first + 4 * v, 1) | load_bytes(second + 4 * v, 1) << 16;
  }
}
inline void pair_u4(const uint8_t* first, const uint8_t* second, I32 (&out)[4]) {
  for (int v = 0; v < 4; v += 2) {
    const I32 bytes = load_bytes(first + 2 * v, 1) | load_bytes(second + 2 * v, 1) << 16;
    out[v] = bytes & 0x000F000F;
    out[v + 1] = bytes >> 4 & 0x000F000F;
  }
}
inline I32 add(I32 a, I32 b) { return a + b; }
inline I32 times_128(I32 a) { return a * 128; }
inline I32 pairs(I32 a, int16_t high) { return (a & 0xFFFF) | int32_t{high} * 0x10000; }
inline I32 dot_pairs(I32 a, const int16_t* pair) {
  const I32 low = (a << 16) >> 16;
  return low * pair[0] + (a >> 16) * pair[1];
}

inline int dot_4_bytes(const uint8_t* codes, int shift, int mask, const int8_t* a) {
  int sum = 0;
  for (int i = 0; i < 4; ++i) sum += ((codes[i] >> shift) & mask) * a[i];
  return sum;
}

constexpr int8_t kOnes[32] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                              1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

struct Codes4 {
  explicit Codes4(const uint8_t* block) : codes(block) {}
  template <int kFirst, int kCount>
  I32 dot(const int8_t* a, I32 start) const {
    I32 sum = start;
    for (int i = kFirst; i < kFirst + kCount; ++i) {
      for (int lane = 0; lane < kLanes; ++lane) {
        sum[lane] += dot_4_bytes(codes + i % 4 * 64 + lane * 4, i / 4 * 4, 15, a + 4 * i);
      }
    }
    return sum;
  }
  template <int kFirst, int kCount>
  I32 sum(I32 start) const {
    return dot<kFirst, kCount>(kOnes, start);
  }
  const uint8_t* codes;
};

// Put together once: [word][lane][4].
struct Codes6 {
  explicit Codes6(const uint8_t* block) {
    for (int i = 0; i < 8; ++i) {
      for (int k = 0; k < 4 * kLanes; ++k) {
        const int low = block[i % 4 * 64 + k] >> (i / 4 * 4) & 0xF;
        const int high = block[(4 + i / 4) * 64 + k] >> (i % 4 * 2) & 3;
        codes[i][k] = static_cast<uint8_t>(low | high << 4);
      }
    }
  }
  template <int kFirst, int kCount>
  I32 dot(const int8_t* a, I32 start) const {
    I32 sum = start;
    for (int i = kFirst; i < kFirst + kCount; ++i) {
      for (int lane = 0; lane < kLanes; ++lane) {
        sum[lane] += dot_4_bytes(codes[i] + lane * 4, 0, 63, a + 4 * i);
      }
    }
    return sum;
  }
  template <int kFirst, int kCount>
  I32 sum(I32 start) const {
    return dot<kFirst, kCount>(kOnes, start);
  }
  uint8_t codes[8][4 * kLanes];
};

struct Codes8 {
  explicit Codes8(const uint8_t* block) : codes(block) {}
  template <int kFirst, int kCount>
  I32 dot(const int8_t* a, I32 start) const {
    I32 sum = start;
    for (int i = kFirst; i < kFirst + kCount; ++i) {
      for (int lane = 0; lane < kLanes; ++lane) {
        sum[lane] += dot_4_bytes(codes + i * 64 + lane * 4, 0, 255, a + 4 * i);
      }
    }
    return sum;
  }
  template <int kFirst, int kCount>
  I32 sum(I32 start) const {
    return dot<kFirst, kCount>(kOnes, start);
  }
  const uint8_t* codes;
};

}  // namespace
}  // namespace lserve::cpu
