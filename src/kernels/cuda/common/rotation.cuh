// RoPE of one pair of channels (kernels/rope.h): products and sums are rounded apart, as on the
// host.
#pragma once

namespace lserve::cuda {

__device__ inline float turned_low(float low, float high, float cosine, float sine) {
  return __fsub_rn(__fmul_rn(low, cosine), __fmul_rn(high, sine));
}
__device__ inline float turned_high(float low, float high, float cosine, float sine) {
  return __fadd_rn(__fmul_rn(high, cosine), __fmul_rn(low, sine));
}

__device__ inline float4 turned_low(float4 l, float4 h, float4 c, float4 s) {
  return make_float4(turned_low(l.x, h.x, c.x, s.x), turned_low(l.y, h.y, c.y, s.y),
                     turned_low(l.z, h.z, c.z, s.z), turned_low(l.w, h.w, c.w, s.w));
}
__device__ inline float4 turned_high(float4 l, float4 h, float4 c, float4 s) {
  return make_float4(turned_high(l.x, h.x, c.x, s.x), turned_high(l.y, h.y, c.y, s.y),
                     turned_high(l.z, h.z, c.z, s.z), turned_high(l.w, h.w, c.w, s.w));
}

}  // namespace lserve::cuda
