// Writes the seeds that are made by the writers of the tests: make_corpus <corpus folder>.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

#include "engine/kv_file.h"
#include "support/gguf_writer.h"
#include "support/safetensors_writer.h"
#include "support/sentencepiece_writer.h"

namespace {

bool write(const std::filesystem::path& path, const std::string& bytes) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  return out.good();
}

// All value types, and tensors of several element types.
lserve::GgufWriter value_types() {
  lserve::GgufWriter w;
  for (uint32_t type = 0; type < 13; ++type) {
    if (type == lserve::kGgufString || type == lserve::kGgufArray) continue;
    const std::string one(type == 7 ? "\1\0\0\0\0\0\0\0" : "\2\0\0\0\0\0\0\0", 8);
    const size_t bytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    w.add("v" + std::to_string(type), type, lserve::ByteString().raw(one.substr(0, bytes[type])));
  }
  w.strings("s", {"a", "bc"});
  w.i32s("i", {1, -1});
  w.tensors.push_back({"a", {32, 2}, lserve::kGgmlQ8_0, lserve::ramp_bytes(68, 1), {}});
  w.tensors.push_back({"b", {3}, lserve::kGgmlF32, lserve::ramp_bytes(12, 2), {}});
  w.tensors.push_back({"c", {256}, lserve::kGgmlQ4_K, lserve::ramp_bytes(144, 3), {}});
  return w;
}

// Two pages: one of the sink, one of the window.
bool write_kv_file(const std::filesystem::path& path, int64_t streaming_bytes) {
  std::filesystem::create_directories(path.parent_path());
  lserve::KvFileHead head;
  head.fields = {{"model", "tiny"}, {"head pattern", "no streaming heads"}};
  head.arithmetic = "cpu";
  head.num_pages = 2;
  head.sink_pages = head.window_page = streaming_bytes > 0 ? 1 : 0;
  head.record_bytes = {16, streaming_bytes};
  const std::vector<int32_t> tokens(static_cast<size_t>(head.num_tokens()), 7);
  auto file = lserve::KvFileWriter::create(path.string(), head, tokens);
  if (!file.ok()) return false;
  for (int64_t page_idx = 0; page_idx < head.num_pages; ++page_idx) {
    for (size_t which = 0; which < lserve::kNumKvRecords; ++which) {
      if (!head.has_record(which, page_idx)) continue;
      const std::vector<std::byte> record(static_cast<size_t>(head.record_bytes[which]));
      if (!file->write_record(record).ok()) return false;
    }
  }
  return file->commit().ok();
}

// All types of pieces, the bytes among them.
lserve::SentencePieceWriter piece_types() {
  lserve::SentencePieceWriter w = lserve::tiny_sentencepiece();
  w.pieces.push_back({"<tool>", 0, 4});
  constexpr std::string_view kHex = "0123456789ABCDEF";
  for (size_t b = 0; b < 256; ++b) {
    w.pieces.push_back({std::string("<0x") + kHex[b / 16] + kHex[b % 16] + ">", 0, 6});
  }
  w.trainer.varint(35, 1);
  return w;
}

// A config.json that declares low-bit weights.
std::string low_bit_config() {
  std::string config = lserve::tiny_hf_config();
  config.pop_back();
  return config + R"(, "quantization_config": {"quant_method": "lserve", "version": 1,
    "layers": "w4a8", "head": "w8a8", "group_size": 128}})";
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("usage: make_corpus <corpus folder>\n", stderr);
    return 2;
  }
  const std::filesystem::path root = argv[1];
  lserve::SafetensorsWriter two;
  two.add("a", "F32", {2, 2});
  two.add("b", "BF16", {3});
  two.add("c", "I64", {});
  const bool ok = write(root / "gguf/llama", lserve::tiny_gguf_model("llama").build()) &&
                  write(root / "gguf/qwen2", lserve::tiny_gguf_model("qwen2").build()) &&
                  write(root / "gguf/value_types", value_types().build()) &&
                  write(root / "gguf/empty", lserve::GgufWriter().build()) &&
                  write_kv_file(root / "kv_file/both_classes", 8) &&
                  write_kv_file(root / "kv_file/one_class", 0) &&
                  write(root / "safetensors/three", two.build()) &&
                  write(root / "safetensors/empty", lserve::raw_safetensors("{}", 0)) &&
                  write(root / "tokenizer_model/tiny", lserve::tiny_sentencepiece().build()) &&
                  write(root / "tokenizer_model/piece_types", piece_types().build()) &&
                  write(root / "config/llama", lserve::tiny_hf_config()) &&
                  write(root / "config/mistral", lserve::tiny_hf_config("MistralForCausalLM")) &&
                  write(root / "config/qwen2", lserve::tiny_hf_config("Qwen2ForCausalLM")) &&
                  write(root / "config/low_bit", low_bit_config());
  return ok ? 0 : 1;
}
