// Builds GGUF files in memory, good ones and, with a field set on purpose, bad ones.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace lserve {

// Little-endian bytes, one field after the other.
class ByteString {
 public:
  template <typename T>
  requires std::is_trivially_copyable_v<T> ByteString& put(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof(T));
    return *this;
  }
  ByteString& raw(std::string_view bytes) {
    bytes_ += bytes;
    return *this;
  }
  // A length and the text, as GGUF has it.
  ByteString& text(std::string_view text) { return put<uint64_t>(text.size()).raw(text); }
  ByteString& pad_to(size_t alignment) {
    while (bytes_.size() % alignment != 0) bytes_ += '\0';
    return *this;
  }
  size_t size() const { return bytes_.size(); }
  const std::string& str() const { return bytes_; }

 private:
  std::string bytes_;
};

enum GgufTypeCode : uint32_t {
  kGgufU8,
  kGgufI8,
  kGgufU16,
  kGgufI16,
  kGgufU32,
  kGgufI32,
  kGgufF32,
  kGgufBool,
  kGgufString,
  kGgufArray,
  kGgufU64,
  kGgufI64,
  kGgufF64
};
enum GgmlTypeCode : uint32_t {
  kGgmlF32 = 0,
  kGgmlF16 = 1,
  kGgmlQ4_0 = 2,
  kGgmlQ4_1 = 3,
  kGgmlQ5_0 = 6,
  kGgmlQ8_0 = 8,
  kGgmlQ4_K = 12,
  kGgmlQ6_K = 14,
  kGgmlBF16 = 30
};

struct GgufWriter {
  struct Entry {
    std::string key;
    uint32_t type;
    std::string value;
  };
  struct Tensor {
    std::string name;
    std::vector<uint64_t> dims;  // fastest first
    uint32_t type;
    std::string data;
    std::optional<uint64_t> offset;  // instead of the right one
  };

  std::string magic = "GGUF";
  uint32_t version = 3;
  uint64_t alignment = 32;  // of the data; general.alignment is up to the test
  std::optional<uint64_t> num_tensors, num_metadata;  // instead of the right ones
  std::vector<Entry> metadata;
  std::vector<Tensor> tensors;

  void add(const std::string& key, uint32_t type, const ByteString& value) {
    metadata.push_back({key, type, value.str()});
  }
  void u32(const std::string& key, uint32_t value) { add(key, kGgufU32, ByteString().put(value)); }
  void f32(const std::string& key, float value) { add(key, kGgufF32, ByteString().put(value)); }
  void boolean(const std::string& key, bool value) {
    add(key, kGgufBool, ByteString().put<uint8_t>(value ? 1 : 0));
  }
  void string(const std::string& key, std::string_view value) {
    add(key, kGgufString, ByteString().text(value));
  }
  void strings(const std::string& key, const std::vector<std::string>& list) {
    ByteString value;
    value.put<uint32_t>(kGgufString).put<uint64_t>(list.size());
    for (const std::string& one : list) value.text(one);
    add(key, kGgufArray, value);
  }
  void i32s(const std::string& key, const std::vector<int32_t>& list) {
    ByteString value;
    value.put<uint32_t>(kGgufI32).put<uint64_t>(list.size());
    for (const int32_t one : list) value.put(one);
    add(key, kGgufArray, value);
  }
  void f32s(const std::string& key, const std::vector<float>& list) {
    ByteString value;
    value.put<uint32_t>(kGgufF32).put<uint64_t>(list.size());
    for (const float one : list) value.put(one);
    add(key, kGgufArray, value);
  }
  // Replaces the entry, or adds it.
  void set_u32(const std::string& key, uint32_t value) {
    remove(key);
    u32(key, value);
  }
  void remove(const std::string& key) {
    std::erase_if(metadata, [&](const Entry& entry) { return entry.key == key; });
  }
  Tensor* find(std::string_view name) {
    for (Tensor& tensor : tensors) {
      if (tensor.name == name) return &tensor;
    }
    return nullptr;
  }

  std::string build() const {
    ByteString out;
    out.raw(magic).put(version);
    out.put<uint64_t>(num_tensors.value_or(tensors.size()));
    out.put<uint64_t>(num_metadata.value_or(metadata.size()));
    for (const Entry& entry : metadata) out.text(entry.key).put(entry.type).raw(entry.value);
    ByteString data;
    for (const Tensor& tensor : tensors) {
      data.pad_to(alignment);
      out.text(tensor.name).put(static_cast<uint32_t>(tensor.dims.size()));
      for (const uint64_t dim : tensor.dims) out.put(dim);
      out.put(tensor.type).put(tensor.offset.value_or(data.size()));
      data.raw(tensor.data);
    }
    return out.pad_to(alignment).raw(data.str()).str();
  }
};

// Bytes that differ from row to row and are finite in every usable format.
inline std::string ramp_bytes(size_t count, size_t salt) {
  std::string bytes(count, '\0');
  for (size_t i = 0; i < count; ++i) bytes[i] = static_cast<char>((i * 7 + i / 34 + salt) % 59);
  return bytes;
}

// A whole model of the architecture "llama" or "qwen2": 1 layer, hidden 32, 2 query heads and 1 KV
// head of 64, vocabulary 8, tied embeddings. Matrices are Q8_0, norms F32.
inline GgufWriter tiny_gguf_model(const std::string& arch = "llama") {
  GgufWriter w;
  w.string("general.architecture", arch);
  w.u32(arch + ".block_count", 1);
  w.u32(arch + ".context_length", 512);
  w.u32(arch + ".embedding_length", 32);
  w.u32(arch + ".feed_forward_length", 64);
  w.u32(arch + ".attention.head_count", 2);
  w.u32(arch + ".attention.head_count_kv", 1);
  w.u32(arch + ".attention.key_length", 64);
  w.u32(arch + ".attention.value_length", 64);
  w.f32(arch + ".attention.layer_norm_rms_epsilon", 1e-5F);
  w.f32(arch + ".rope.freq_base", 50000.0F);
  w.u32("tokenizer.ggml.bos_token_id", 1);
  w.u32("tokenizer.ggml.eos_token_id", 2);
  size_t salt = 0;
  const auto matrix = [&](const std::string& name, uint64_t columns, uint64_t rows) {
    const size_t bytes = columns / 32 * 34 * rows;
    w.tensors.push_back({name, {columns, rows}, kGgmlQ8_0, ramp_bytes(bytes, ++salt), {}});
  };
  const auto vector = [&](const std::string& name, uint64_t count) {
    w.tensors.push_back({name, {count}, kGgmlF32, ramp_bytes(count * 4, ++salt), {}});
  };
  matrix("token_embd.weight", 32, 8);
  vector("blk.0.attn_norm.weight", 32);
  matrix("blk.0.attn_q.weight", 32, 128);
  matrix("blk.0.attn_k.weight", 32, 64);
  matrix("blk.0.attn_v.weight", 32, 64);
  if (arch == "qwen2") {
    vector("blk.0.attn_q.bias", 128);
    vector("blk.0.attn_k.bias", 64);
    vector("blk.0.attn_v.bias", 64);
  }
  matrix("blk.0.attn_output.weight", 128, 32);
  vector("blk.0.ffn_norm.weight", 32);
  matrix("blk.0.ffn_gate.weight", 32, 64);
  matrix("blk.0.ffn_up.weight", 32, 64);
  matrix("blk.0.ffn_down.weight", 64, 32);
  vector("output_norm.weight", 32);
  return w;
}

}  // namespace lserve
