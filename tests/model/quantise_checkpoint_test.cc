// `lserve quantize`: what it writes loads as what loading converts, bit for bit; and whatever does
// not match its declaration is refused by name.
#include "model/quantise_checkpoint.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>

#include "base/file.h"
#include "base/json.h"
#include "base/strings.h"
#include "support/backends.h"
#include "support/property.h"
#include "support/random_llama.h"
#include "support/temp_directory.h"

namespace lserve::test {
namespace {

struct Directories {
  TempDirectory from;
  TempDirectory parent;
  std::string to = parent.path() + "/out";

  explicit Directories(bool tied = true) {
    Random random(testing::test_seed());
    RandomLlama model(&random);
    if (!tied)
      model.lm_head = Matrix::random(RandomLlama::kVocab, RandomLlama::kHidden, 1, &random);
    model.write(from);
    from.write("tokenizer_config.json", "{}");
    from.write("notes.txt", "stays behind");
  }
  Status quantise(std::optional<WeightFormat> layers, std::optional<WeightFormat> head = {}) const {
    return quantise_checkpoint(from.path(), {layers, head, 2}, to, {}).status();
  }
  std::string read(const std::string& name) const {
    const auto text = read_file(to + "/" + name, 1 << 24);
    EXPECT_TRUE(text.ok()) << text.status().message();
    return text.ok() ? *text : "";
  }
  void write(const std::string& name, const std::string& contents) const {
    parent.write("out/" + name, contents);
  }
};

Result<ModelWeights> load(const std::string& path, const WeightChoice& choice, Backend& backend) {
  ASSIGN_OR_RETURN(const auto checkpoint, Checkpoint::open(path));
  RETURN_IF_ERROR(check_weight_choice(*checkpoint, choice));
  return load_weights(*checkpoint, choice, backend, {});
}

void expect_same(const Weight& a, const Weight& b) {
  ASSERT_EQ(a.format, b.format);
  ASSERT_EQ(a.rows, b.rows);
  ASSERT_EQ(a.data.bytes(), b.data.bytes());
  EXPECT_EQ(std::memcmp(a.data.data(), b.data.data(), a.data.bytes()), 0);
}

std::unique_ptr<Backend> reference() {
  auto backend = make_backend({.kind = BackendKind::kReference, .num_threads = 1});
  EXPECT_TRUE(backend.ok());
  return std::move(backend).value();
}

TEST(QuantiseCheckpoint, LoadsAsWhatLoadingConverts) {
  const auto backend = reference();
  for (const bool tied : {true, false}) {
    for (const WeightFormat format : kRowFormats) {
      for (const auto head : {std::optional<WeightFormat>(), std::optional(WeightFormat::kW8A8)}) {
        SCOPED_TRACE(weight_format_name(format));
        const Directories at(tied);
        const Status status = at.quantise(format, head);
        ASSERT_TRUE(status.ok()) << status.message();
        const auto stored = load(at.to, {}, *backend);
        const auto converted = load(at.from.path(), {format, head, 1}, *backend);
        ASSERT_TRUE(stored.ok()) << stored.status().message();
        ASSERT_TRUE(converted.ok()) << converted.status().message();
        expect_same(stored->embedding, converted->embedding);
        expect_same(stored->output(), converted->output());
        for (size_t layer = 0; layer < stored->layers.size(); ++layer) {
          for (auto projection :
               {&LayerWeights::q, &LayerWeights::k, &LayerWeights::v, &LayerWeights::o,
                &LayerWeights::gate, &LayerWeights::up, &LayerWeights::down}) {
            EXPECT_EQ((stored->layers[layer].*projection).weight.format, format);
            expect_same((stored->layers[layer].*projection).weight,
                        (converted->layers[layer].*projection).weight);
          }
        }
      }
    }
  }
}

TEST(QuantiseCheckpoint, CopiesWhatBelongsToTheModel) {
  const Directories at;
  std::filesystem::create_directory(at.from.path() + "/additional_chat_templates");
  std::filesystem::create_directory(at.from.path() + "/head_pattern");
  const std::vector<std::string> names = {"generation_config.json",
                                          "tokenizer.json",
                                          "tokenizer_config.json",
                                          "tokenizer.model",
                                          "vocab.json",
                                          "merges.txt",
                                          "added_tokens.json",
                                          "special_tokens_map.json",
                                          "chat_template.jinja",
                                          "additional_chat_templates/tool_use.jinja",
                                          "head_pattern/full_attention_heads.tsv",
                                          "head_pattern/config.json"};
  const auto contents = [](const std::string& name) { return cat("{\"is\": \"", name, "\"}"); };
  for (const std::string& name : names) at.from.write(name, contents(name));
  const auto result = quantise_checkpoint(at.from.path(), {WeightFormat::kW4A16, {}, 1}, at.to, {});
  ASSERT_TRUE(result.ok()) << result.status().message();
  EXPECT_EQ(result->files, static_cast<int64_t>(names.size()));
  for (const std::string& name : names) EXPECT_EQ(at.read(name), contents(name));
  EXPECT_FALSE(file_exists(at.to + "/notes.txt"));
  const auto checkpoint = Checkpoint::open(at.to);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  EXPECT_EQ((*checkpoint)->describe(), "safetensors, 1 file, w4a16");
  EXPECT_EQ((*checkpoint)->find("model.embed_tokens.weight")->format, WeightFormat::kF32);
  EXPECT_EQ((*checkpoint)->find("model.norm.weight")->format, WeightFormat::kF32);
}

TEST(QuantiseCheckpoint, WhatIsCutOffLeavesNoModel) {
  const Directories at;
  int calls = 0;
  const auto stop_at_the_second = [&](uint64_t done, uint64_t total) {
    EXPECT_LE(done, total);
    return ++calls == 2 ? Status::error(ErrorKind::kInterrupted, "interrupted") : Status();
  };
  const WeightChoice choice{WeightFormat::kW8A8, {}, 1};
  const auto cut = quantise_checkpoint(at.from.path(), choice, at.to, stop_at_the_second);
  EXPECT_EQ(cut.status().kind(), ErrorKind::kInterrupted);
  EXPECT_EQ(calls, 2);
  for (const auto& file : std::filesystem::directory_iterator(at.to)) {
    const std::string name = file.path().filename();
    EXPECT_FALSE(name.starts_with("model.safetensors") || name == "config.json") << name;
  }
  EXPECT_TRUE(at.quantise(WeightFormat::kW8A8).ok()) << "into what was left";
}

TEST(QuantiseCheckpoint, RefusesToQuantiseTwice) {
  const Directories at;
  ASSERT_TRUE(at.quantise(WeightFormat::kW8A8).ok());
  // Over what is there, from what is quantised, and while loading.
  Status status = at.quantise(WeightFormat::kW8A8);
  EXPECT_EQ(status.kind(), ErrorKind::kUsage) << status.message();
  status = quantise_checkpoint(at.to, {WeightFormat::kW4A8, {}, 1}, at.to + "2", {}).status();
  EXPECT_EQ(status.kind(), ErrorKind::kUsage) << status.message();
  EXPECT_FALSE(directory_exists(at.to + "2"));
  const auto backend = reference();
  status = load(at.to, {WeightFormat::kW4A8, {}, 1}, *backend).status();
  EXPECT_EQ(status.kind(), ErrorKind::kUsage) << status.message();
  EXPECT_NE(status.message().find("stored as w8a8"), std::string::npos) << status.message();
}

// config.json written by others says so of float weights.
TEST(QuantiseCheckpoint, ADeclarationThatIsNullIsNone) {
  const Directories at;
  std::string config = RandomLlama::config();
  config.replace(0, 1, "{\"quantization_config\": null, ");
  at.from.write("config.json", config);
  const Status status = at.quantise(WeightFormat::kW8A8);
  ASSERT_TRUE(status.ok()) << status.message();
  const auto checkpoint = Checkpoint::open(at.to);  // where a member that is there twice fails
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  EXPECT_EQ((*checkpoint)->describe(), "safetensors, 1 file, w8a8");
}

TEST(QuantiseCheckpoint, WhatWasCutOffIsNamedSoWithTheRemedy) {
  const Directories at;
  ASSERT_TRUE(at.quantise(WeightFormat::kW8A8).ok());
  std::filesystem::remove(at.to + "/config.json");
  Status status = at.quantise(WeightFormat::kW8A8);
  EXPECT_EQ(status.kind(), ErrorKind::kUsage);
  EXPECT_NE(status.message().find("without config.json, left by a run that was cut off: remove it"),
            std::string::npos)
      << status.message();
  std::filesystem::remove(at.to + "/model.safetensors");
  status = at.quantise(WeightFormat::kW8A8);
  EXPECT_TRUE(status.ok()) << status.message();
}

TEST(QuantiseCheckpoint, RefusesNothingToDo) {
  const Directories at;
  EXPECT_EQ(at.quantise({}).kind(), ErrorKind::kUsage);
  for (const Status& status :
       {at.quantise(WeightFormat::kBF16), at.quantise(WeightFormat::kW4A8, WeightFormat::kBF16)}) {
    EXPECT_EQ(status.kind(), ErrorKind::kUsage);
    EXPECT_EQ(status.message(),
              "bf16 is no low-bit format; lserve quantize writes w8a8, fp8, w4a8, w4a16");
  }
  EXPECT_EQ(quantise_checkpoint("random:llama-3-8b", {WeightFormat::kW8A8, {}, 1}, at.to, {})
                .status()
                .kind(),
            ErrorKind::kUsage);
  EXPECT_FALSE(directory_exists(at.to));
}

// config.json of a quantised directory with another declaration.
std::string declaring(std::string config, const std::string& declaration) {
  const size_t at = config.find("\"quantization_config\": ");
  EXPECT_NE(at, std::string::npos);
  const size_t end = config.find('}', at);
  return config.replace(at, end + 1 - at, "\"quantization_config\": " + declaration);
}

TEST(QuantiseCheckpoint, DeclarationsThatDoNotMatchAreRefusedByName) {
  const Directories at;
  ASSERT_TRUE(at.quantise(WeightFormat::kW4A8, WeightFormat::kFp8).ok());
  const std::string config = at.read("config.json");
  struct Case {
    const char* declaration;
    const char* says;
  };
  const std::string good = R"("quant_method": "lserve", "version": 1, )";
  for (const Case& c : {
           Case{R"("layers": "w8a8", "head": "fp8")", ".weight.w4a8\" holds w4a8 weights, but"},
           Case{R"("layers": "w4a16", "head": "fp8", "group_size": 128)", "declares w4a16"},
           Case{R"("layers": "w4a8", "head": "w8a8", "group_size": 128)",
                "\"model.embed_tokens.weight.fp8\" holds fp8 weights"},
           Case{R"("layers": "w4a8", "group_size": 128)", "declares no format of them"},
           Case{R"("layers": "w4a8", "head": "fp8", "group_size": 64)", "group_size: 64 is not"},
           Case{R"("layers": "w4a8", "head": "fp8")", "group_size: nothing is not"},
           Case{R"("head": "fp8", "group_size": 128)", "has no groups"},
           Case{R"("layers": "w5a8", "head": "fp8")", "w5a8"},
           Case{R"("layers": "Q4_0")", "Q4_0"},
           Case{R"("layers": "W4A8", "head": "fp8", "group_size": 128)",
                "layers: \"W4A8\" is no format (known: w8a8, fp8, w4a8, w4a16)"},
           Case{R"("layers": "", "head": "fp8")", "layers: \"\" is no format"},
           Case{R"("layers": "w4a8", "head": "", "group_size": 128)", "head: \"\" is no format"},
           Case{R"("layers": 4, "head": "fp8")", "layers: \"4\" is no string"},
           Case{R"("layers": "w4a8", "head": "fp8", "group_size": 128, "symmetric": true)",
                "\"symmetric\": is no member that version 1 has"},
           Case{R"("layers": "w4a8", "head": "fp8", "group_size": 128, "Head": null)",
                "\"Head\": is no member"},
           Case{R"("group_size": 128)", "layers: is missing"},
       }) {
    at.write("config.json", declaring(config, "{" + good + c.declaration + "}"));
    const auto opened = Checkpoint::open(at.to);
    ASSERT_FALSE(opened.ok()) << c.declaration;
    EXPECT_EQ(opened.status().kind(), ErrorKind::kModel);
    EXPECT_NE(opened.status().message().find(c.says), std::string::npos)
        << c.declaration << ": " << opened.status().message();
  }
  for (const char* whole : {R"({"quant_method": "lserve", "version": 2, "layers": "w4a8"})",
                            R"({"quant_method": "awq", "bits": 4})", R"({})", R"("w4a8}")"}) {
    at.write("config.json", declaring(config, whole));
    const auto opened = Checkpoint::open(at.to);
    ASSERT_FALSE(opened.ok()) << whole;
    EXPECT_NE(opened.status().message().find("quantization_config"), std::string::npos)
        << opened.status().message();
  }
  at.write("config.json", config);
  EXPECT_TRUE(Checkpoint::open(at.to).ok());
}

TEST(QuantiseCheckpoint, PlainTensorsUnderADeclarationAreRefused) {
  const Directories at;
  ASSERT_TRUE(at.quantise(WeightFormat::kW8A8).ok());
  const auto plain = read_file(at.from.path() + "/model.safetensors", 1 << 24);
  ASSERT_TRUE(plain.ok());
  at.write("model.safetensors", *plain);
  const auto opened = Checkpoint::open(at.to);
  ASSERT_FALSE(opened.ok());
  EXPECT_NE(opened.status().message().find("holds F32 weights"), std::string::npos)
      << opened.status().message();
}

// As another group size, or another layout, would have it: the byte of a row that is too many.
TEST(QuantiseCheckpoint, RowsOfAnotherSizeAreRefused) {
  const Directories at;
  ASSERT_TRUE(at.quantise(WeightFormat::kW4A8).ok());
  std::string file = at.read("model.safetensors");
  const std::string before = "\"shape\": [80, 60]";  // of down_proj: 112 columns
  const size_t found = file.find(before);
  ASSERT_NE(found, std::string::npos);
  file.replace(found, before.size(), "\"shape\": [60, 80]");
  at.write("model.safetensors", file);
  const auto opened = Checkpoint::open(at.to);
  ASSERT_FALSE(opened.ok());
  EXPECT_NE(opened.status().message().find("is U8 [60, 80], but w4a8 weights of [80, 112]"),
            std::string::npos)
      << opened.status().message();
}

// Such tensors are no others' either.
TEST(QuantiseCheckpoint, LowBitTensorsWithoutADeclarationAreRefused) {
  const Directories at;
  ASSERT_TRUE(at.quantise(WeightFormat::kFp8).ok());
  const auto plain = read_file(at.from.path() + "/config.json", 1 << 20);
  ASSERT_TRUE(plain.ok());
  at.write("config.json", *plain);
  const auto opened = Checkpoint::open(at.to);
  ASSERT_FALSE(opened.ok());
  EXPECT_NE(
      opened.status().message().find("holds fp8 weights, but quantization_config declares no"),
      std::string::npos)
      << opened.status().message();
}

// Where the bytes of a tensor begin in a file of safetensors.
size_t offset_of(const std::string& file, const std::string& name) {
  uint64_t size = 0;
  std::memcpy(&size, file.data(), sizeof(size));
  const auto header = Json::parse(std::string_view(file).substr(sizeof(size), size), "header");
  EXPECT_TRUE(header.ok()) << header.status().message();
  const Json* tensor = header->find(name);
  EXPECT_NE(tensor, nullptr) << name;
  return sizeof(size) + size +
         static_cast<size_t>(tensor->find("data_offsets")->as_array()[0].as_int());
}

// In any row of any matrix: {f16 s1; uint8 s2; int8 m; codes}, where there is one group.
TEST(QuantiseCheckpoint, IntegersOutOfRangeAreRefused) {
  const Directories at;
  ASSERT_TRUE(at.quantise(WeightFormat::kW4A8).ok());
  const std::string file = at.read("model.safetensors");
  const auto backend = reference();
  Random random(testing::test_seed());
  struct Damage {
    const char* what;
    std::optional<int> scale, min, codes;
  };
  for (const Damage& damage : {Damage{"s2 = 0", 0, {}, {}}, Damage{"s2 = 18", 18, -128, 0},
                               Damage{"q8 = 2 * 1 + 126", 2, 126, 0x10}}) {
    const int64_t layer = random.integer(0, RandomLlama::kLayers - 1);
    const std::string name = cat("model.layers.", layer, ".mlp.up_proj.weight");
    const int64_t row = random.integer(0, RandomLlama::kFfn - 1);
    SCOPED_TRACE(cat(damage.what, " in row ", row, " of ", name));
    std::string damaged = file;
    const size_t row_size = *row_bytes(WeightFormat::kW4A8, RandomLlama::kHidden);
    const size_t begin = offset_of(file, name + ".w4a8") + static_cast<size_t>(row) * row_size;
    const auto put = [&](size_t byte, std::optional<int> value) {
      if (value) damaged[begin + byte] = static_cast<char>(*value);
    };
    put(2, damage.scale);
    put(3, damage.min);
    for (size_t byte = 4; byte < row_size; ++byte) put(byte, damage.codes);
    at.write("model.safetensors", damaged);
    const Status status = load(at.to, {}, *backend).status();
    EXPECT_EQ(status.kind(), ErrorKind::kModel);
    EXPECT_NE(status.message().find(cat(name, ": row ", row, " ")), std::string::npos)
        << status.message();
  }
  // What is just within them loads: s2 = 17, q8 = 127 and -128.
  std::string extreme = file;
  const size_t begin = offset_of(file, "model.layers.0.mlp.up_proj.weight.w4a8");
  extreme[begin + 2] = 17;
  extreme[begin + 3] = -128;
  for (int64_t byte = 0; byte < RandomLlama::kHidden / 2; ++byte) {
    extreme[begin + 4 + static_cast<size_t>(byte)] = static_cast<char>(0xF0);
  }
  at.write("model.safetensors", extreme);
  const Status status = load(at.to, {}, *backend).status();
  EXPECT_TRUE(status.ok()) << status.message();
}

// Rows of w8a8 and fp8 have one size: the same bytes are another model under the other name.
TEST(QuantiseCheckpoint, TheContentHashTellsFormatsApart) {
  const Directories at;
  ASSERT_TRUE(at.quantise(WeightFormat::kW8A8).ok());
  const auto backend = reference();
  const auto as_w8a8 = load(at.to, {}, *backend);
  ASSERT_TRUE(as_w8a8.ok()) << as_w8a8.status().message();
  const auto again = load(at.to, {}, *backend);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(as_w8a8->content_hash, again->content_hash);
  std::string file = at.read("model.safetensors");
  const auto replace = [](std::string* text, std::string_view before, std::string_view after) {
    for (size_t i = 0; (i = text->find(before, i)) != std::string::npos; i += after.size()) {
      text->replace(i, before.size(), after);
    }
  };
  replace(&file, ".w8a8\"", ".fp8\" ");  // as long, so that all offsets stay
  at.write("model.safetensors", file);
  std::string config = at.read("config.json");
  replace(&config, "\"w8a8\"", "\"fp8\"");
  at.write("config.json", config);
  const auto as_fp8 = load(at.to, {}, *backend);
  ASSERT_TRUE(as_fp8.ok()) << as_fp8.status().message();
  ASSERT_EQ(as_fp8->layers[0].q.weight.format, WeightFormat::kFp8);
  EXPECT_NE(as_w8a8->content_hash, as_fp8->content_hash);
}

}  // namespace
}  // namespace lserve::test
