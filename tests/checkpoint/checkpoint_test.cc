#include "checkpoint/checkpoint.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "support/gguf_writer.h"
#include "support/safetensors_writer.h"
#include "support/temp_directory.h"

namespace lserve {
namespace {

std::string error_of(const std::string& path) {
  const auto model = Checkpoint::open(path);
  return model.ok() ? "" : model.status().message();
}

std::string read(const Checkpoint& model, const std::string& name) {
  const TensorInfo* tensor = model.find(name);
  CHECK(tensor != nullptr);
  std::string bytes(tensor->bytes, '\0');
  const Status status = model.read_tensor(*tensor, std::as_writable_bytes(std::span(bytes)));
  EXPECT_TRUE(status.ok()) << (status.ok() ? "" : status.message());
  return bytes;
}

struct WeightCase {
  const char* name;
  std::function<void(SafetensorsWriter&)> change;
  const char* error;  // empty: accepted
};

TEST(Checkpoint, TensorSetOfADirectory) {
  const std::string up = "model.layers.0.mlp.up_proj.weight";
  const std::vector<WeightCase> cases = {
      {"as it is", [](auto&) {}, ""},
      {"missing", [&](auto& w) { w.remove(up); },
       "tensor \"model.layers.0.mlp.up_proj.weight\" of shape [64, 32] is missing"},
      {"the last one missing", [](auto& w) { w.remove("model.norm.weight"); },
       "\"model.norm.weight\" of shape [32] is missing"},
      {"transposed",
       [&](auto& w) {
         w.replace(up, "BF16", {32, 64});
       },
       "has shape [32, 64], expected [64, 32]"},
      {"one dimension too many",
       [](auto& w) {
         w.replace("model.norm.weight", "F32", {32, 1});
       },
       "has shape [32, 1], expected [32]"},
      {"F32",
       [&](auto& w) {
         w.replace(up, "F32", {64, 32});
       },
       ""},
      {"I64",
       [&](auto& w) {
         w.replace(up, "I64", {64, 32});
       },
       "has the type I64, which is not supported (supported: F32, F16, BF16)"},
      {"rotation table",
       [](auto& w) { w.add("model.layers.0.self_attn.rotary_emb.inv_freq", "F32", {32}); }, ""},
      {"copy of tied embeddings",
       [](auto& w) {
         w.add("lm_head.weight", "BF16", {8, 32});
       },
       ""},
      {"unknown extra of an unusable type", [](auto& w) { w.add("x", "I64", {3}); }, ""},
  };
  for (const WeightCase& c : cases) {
    SCOPED_TRACE(c.name);
    const TempDirectory directory;
    SafetensorsWriter w = tiny_hf_weights();
    c.change(w);
    directory.write("config.json", tiny_hf_config());
    directory.write("model.safetensors", w.build());
    const std::string error = error_of(directory.path());
    if (c.error[0] == '\0') {
      EXPECT_EQ(error, "");
    } else {
      EXPECT_NE(error.find(c.error), std::string::npos) << error;
      EXPECT_NE(error.find("model.safetensors: "), std::string::npos) << error;
    }
  }
}

TEST(Checkpoint, UnknownExtraIsOneWarning) {
  const TempDirectory directory;
  SafetensorsWriter w = tiny_hf_weights();
  w.add("extra.one", "BF16", {3});
  w.add("extra.two", "BF16", {3});
  w.add("model.layers.0.self_attn.rotary_emb.inv_freq", "F32", {32});
  directory.write("config.json", tiny_hf_config());
  directory.write("model.safetensors", w.build());
  testing::internal::CaptureStderr();
  const auto model = Checkpoint::open(directory.path());
  const std::string log = testing::internal::GetCapturedStderr();
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_NE(log.find("2 tensor(s)"), std::string::npos) << log;
  EXPECT_NE(log.find("\"extra.one\""), std::string::npos) << log;
  EXPECT_EQ(std::count(log.begin(), log.end(), '\n'), 1) << log;
  EXPECT_EQ((*model)->find("extra.one"), nullptr);
}

TEST(Checkpoint, UntiedHeadIsRequired) {
  const TempDirectory directory;
  std::string config = tiny_hf_config();
  config.replace(config.find("\"tie_word_embeddings\": true"), 27,
                 "\"tie_word_embeddings\": false");
  directory.write("config.json", config);
  directory.write("model.safetensors", tiny_hf_weights().build());
  EXPECT_NE(error_of(directory.path()).find("\"lm_head.weight\" of shape [8, 32] is missing"),
            std::string::npos);
}

TEST(Checkpoint, DirectoryTensorsComeAsStored) {
  const TempDirectory directory;
  write_tiny_hf_model(directory);
  const auto model = Checkpoint::open(directory.path());
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_EQ((*model)->describe(), "safetensors, 1 file");
  EXPECT_EQ((*model)->tensors().size(), 11U);
  EXPECT_EQ((*model)->tensors()[0].name, "model.embed_tokens.weight");
  EXPECT_EQ((*model)->find("absent"), nullptr);
  const std::string file = tiny_hf_weights().build();
  const std::string data = file.substr(file.size() - (*model)->tensors()[10].bytes);
  EXPECT_EQ(read(**model, "model.norm.weight"), data);
  EXPECT_EQ((*model)->file_bytes(), file.size());
}

// A model cut into two shards, with the index written by hand.
class Sharded {
 public:
  Sharded() {
    SafetensorsWriter first = tiny_hf_weights();
    SafetensorsWriter second;
    second.add("model.norm.weight", "BF16", {32});
    first.remove("model.norm.weight");
    directory.write("config.json", tiny_hf_config());
    directory.write("a.safetensors", first.build());
    directory.write("b.safetensors", second.build());
    for (const auto& tensor : first.tensors) map.emplace_back(tensor.name, "a.safetensors");
    map.emplace_back("model.norm.weight", "b.safetensors");
  }
  std::string open_error() {
    Json weight_map = Json::object();
    for (const auto& [tensor, shard] : map) weight_map.set(tensor, shard);
    Json index = Json::object();
    index.set("weight_map", std::move(weight_map));
    directory.write("model.safetensors.index.json", index.dump());
    return error_of(directory.path());
  }

  TempDirectory directory;
  std::vector<std::pair<std::string, std::string>> map;
};

TEST(Checkpoint, Shards) {
  Sharded good;
  EXPECT_EQ(good.open_error(), "");
  const auto model = Checkpoint::open(good.directory.path());
  ASSERT_TRUE(model.ok());
  EXPECT_EQ((*model)->describe(), "safetensors, 2 files");
  EXPECT_EQ((*model)->tensors().back().name, "model.norm.weight");

  Sharded absent;
  std::filesystem::remove(absent.directory.path() + "/b.safetensors");
  EXPECT_NE(absent.open_error().find("b.safetensors: this shard is missing"), std::string::npos);

  Sharded wrong_place;
  wrong_place.map.back().second = "a.safetensors";
  EXPECT_NE(wrong_place.open_error().find("a.safetensors: tensor \"model.norm.weight\" is missing"),
            std::string::npos);

  Sharded twice;
  SafetensorsWriter second;
  second.add("model.norm.weight", "BF16", {32});
  second.add("model.embed_tokens.weight", "BF16", {8, 32});
  twice.directory.write("b.safetensors", second.build());
  EXPECT_NE(twice.open_error().find("\"model.embed_tokens.weight\" occurs twice"),
            std::string::npos);
}

TEST(Checkpoint, ShardNamesStayInTheDirectory) {
  for (const char* name : {"../b.safetensors", "/etc/b.safetensors", "x/b.safetensors", "..",
                           ".safetensors", "", "b.bin", "x\\b.safetensors"}) {
    Sharded model;
    model.map.back().second = name;
    EXPECT_NE(model.open_error().find("no plain .safetensors file name"), std::string::npos)
        << name;
  }
  Sharded empty;
  empty.map.clear();
  EXPECT_NE(empty.open_error().find("weight_map"), std::string::npos);
}

TEST(Checkpoint, WhatIsNoModelIsToldApart) {
  const TempDirectory directory;
  EXPECT_NE(error_of(directory.path()).find("config.json is not in it"), std::string::npos);
  EXPECT_NE(error_of(directory.path() + "/absent").find("No such file"), std::string::npos);
  directory.write("config.json", tiny_hf_config());
  EXPECT_NE(error_of(directory.path()).find("neither model.safetensors nor"), std::string::npos);
  directory.write("pytorch_model.bin", "x");
  EXPECT_NE(error_of(directory.path()).find("pickles"), std::string::npos);
  directory.write("adapter_model.safetensors", "x");
  EXPECT_NE(error_of(directory.path()).find("LoRA adapter"), std::string::npos);
  directory.write("model.safetensors", "version https://git-lfs.example/spec/v1\nsize 9\n");
  EXPECT_NE(error_of(directory.path()).find("Git-LFS pointer"), std::string::npos);
  directory.write("config.json", "version https://git-lfs.example/spec/v1\nsize 9\n");
  EXPECT_NE(error_of(directory.path()).find("config.json is a Git-LFS pointer"), std::string::npos);
  const std::string weights = directory.write("w.safetensors", tiny_hf_weights().build());
  EXPECT_NE(error_of(weights).find("looks like safetensors, not GGUF: give the directory"),
            std::string::npos);
  // Too short to tell, or no JSON behind the length.
  for (const std::string& bytes :
       {std::string("\x08\0\0\0", 4), std::string("\x08\0\0\0\0\0\0\0[", 9),
        std::string("\x08\0\0\0\1\0\0\0{", 9)}) {
    const std::string error = error_of(directory.write("x.bin", bytes));
    EXPECT_NE(error.find("name the directory"), std::string::npos) << error;
  }
}

TEST(Checkpoint, ChangedFileIsNoticed) {
  const TempDirectory directory;
  write_tiny_hf_model(directory);
  const auto model = Checkpoint::open(directory.path());
  ASSERT_TRUE(model.ok());
  EXPECT_TRUE((*model)->verify_unchanged().ok());
  directory.write("model.safetensors", "short");
  EXPECT_FALSE((*model)->verify_unchanged().ok());
  const TensorInfo& last = (*model)->tensors().back();
  std::vector<std::byte> bytes(last.bytes);
  EXPECT_FALSE((*model)->read_tensor(last, bytes).ok());
}

// `rows` of `row_bytes` as converters store them: w.reshape(heads, 2, 32, in).swapaxes(1, 2).
std::string converted(const std::string& rows, size_t row_bytes, size_t heads) {
  std::string out;
  for (size_t head = 0; head < heads; ++head) {
    for (size_t channel = 0; channel < 32; ++channel) {
      for (size_t half = 0; half < 2; ++half) {
        out += rows.substr((head * 64 + half * 32 + channel) * row_bytes, row_bytes);
      }
    }
  }
  return out;
}

TEST(Checkpoint, RowsOfLlamaGgufComeInHuggingFaceOrder) {
  const std::string q = ramp_bytes(128 * 34, 3);
  const std::string k = ramp_bytes(64 * 20, 4);
  const auto build = [&](const std::string& arch, bool permute) {
    GgufWriter w = tiny_gguf_model(arch);
    w.find("blk.0.attn_q.weight")->data = permute ? converted(q, 34, 2) : q;
    w.find("blk.0.attn_k.weight")->data = permute ? converted(k, 20, 1) : k;
    w.find("blk.0.attn_k.weight")->type = kGgmlQ4_1;
    return w.build();
  };
  const TempDirectory directory;
  for (const std::string arch : {"llama", "qwen2"}) {
    const auto model =
        Checkpoint::open(directory.write(arch + ".gguf", build(arch, arch == "llama")));
    ASSERT_TRUE(model.ok()) << model.status().message();
    EXPECT_EQ((*model)->describe(), "GGUF v3");
    EXPECT_EQ(read(**model, "model.layers.0.self_attn.q_proj.weight"), q) << arch;
    EXPECT_EQ(read(**model, "model.layers.0.self_attn.k_proj.weight"), k) << arch;
    EXPECT_EQ(read(**model, "model.layers.0.self_attn.v_proj.weight"),
              tiny_gguf_model(arch).find("blk.0.attn_v.weight")->data);
    EXPECT_EQ((*model)->find("model.layers.0.self_attn.k_proj.weight")->format,
              WeightFormat::kQ4_1);
  }
}

TEST(Checkpoint, SplitGguf) {
  GgufWriter first = tiny_gguf_model();
  GgufWriter second;
  second.tensors.assign(first.tensors.end() - 3, first.tensors.end());
  first.tensors.resize(first.tensors.size() - 3);
  uint32_t number = 0;
  for (GgufWriter* part : {&first, &second}) {
    part->u32("split.no", number++);
    part->u32("split.count", 2);
    part->u32("split.tensors.count", 11);
  }
  const TempDirectory directory;
  const std::string path_1 = directory.write("m-00001-of-00002.gguf", first.build());
  EXPECT_NE(error_of(path_1).find("m-00002-of-00002.gguf: No such file"), std::string::npos);
  const std::string path_2 = directory.write("m-00002-of-00002.gguf", second.build());
  for (const std::string& path : {path_1, path_2}) {
    const auto model = Checkpoint::open(path);
    ASSERT_TRUE(model.ok()) << model.status().message();
    EXPECT_EQ((*model)->describe(), "GGUF v3, 2 files");
    EXPECT_EQ(read(**model, "model.norm.weight"), second.find("output_norm.weight")->data);
  }
  GgufWriter damaged = second;
  damaged.set_u32("split.count", 3);
  directory.write("m-00002-of-00002.gguf", damaged.build());
  EXPECT_NE(error_of(path_1).find("split.count: 3, but another part says 2"), std::string::npos);
  damaged = second;
  damaged.set_u32("split.no", 0);
  directory.write("m-00002-of-00002.gguf", damaged.build());
  EXPECT_NE(error_of(path_1).find("split.no: 0"), std::string::npos);
  damaged = second;
  damaged.tensors.pop_back();
  directory.write("m-00002-of-00002.gguf", damaged.build());
  EXPECT_NE(error_of(path_1).find("split.tensors.count: 11 are promised, the parts hold 10"),
            std::string::npos);
  GgufWriter foreign = second;
  foreign.set_u32("split.tensors.count", 20);
  directory.write("m-00002-of-00002.gguf", foreign.build());
  EXPECT_NE(error_of(path_1).find("m-00002-of-00002.gguf: split.tensors.count: 20, but the first"),
            std::string::npos);
  // As many tensors, but others: some of the first part's again.
  foreign = second;
  foreign.tensors.assign(first.tensors.begin(), first.tensors.begin() + 3);
  directory.write("m-00002-of-00002.gguf", foreign.build());
  EXPECT_NE(error_of(path_1).find("occurs twice"), std::string::npos) << error_of(path_1);
}

}  // namespace
}  // namespace lserve
