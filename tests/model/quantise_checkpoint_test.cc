// `lserve quantize`: what it writes loads as what loading converts, bit for bit; and whatever does
// not match its declaration is refused by name.
#include "model/quantise_checkpoint.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/file.h"
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
  ASSERT_TRUE(at.quantise(WeightFormat::kW4A16).ok());
  EXPECT_EQ(at.read("tokenizer_config.json"), "{}");
  EXPECT_FALSE(file_exists(at.to + "/notes.txt"));
  const auto checkpoint = Checkpoint::open(at.to);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  EXPECT_EQ((*checkpoint)->describe(), "safetensors, 1 file, w4a16");
  EXPECT_EQ((*checkpoint)->find("model.embed_tokens.weight")->format, WeightFormat::kF32);
  EXPECT_EQ((*checkpoint)->find("model.norm.weight")->format, WeightFormat::kF32);
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

TEST(QuantiseCheckpoint, RefusesNothingToDo) {
  const Directories at;
  EXPECT_EQ(at.quantise({}).kind(), ErrorKind::kUsage);
  EXPECT_EQ(at.quantise(WeightFormat::kBF16).kind(), ErrorKind::kUsage);
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

// A group scale of 0 in the last tensor's last row but one.
TEST(QuantiseCheckpoint, IntegersOutOfRangeAreRefused) {
  const Directories at;
  ASSERT_TRUE(at.quantise(WeightFormat::kW4A8).ok());
  const auto checkpoint = Checkpoint::open(at.to);
  ASSERT_TRUE(checkpoint.ok());
  std::string file = at.read("model.safetensors");
  uint64_t header = 0;
  std::memcpy(&header, file.data(), sizeof(header));
  size_t offset = sizeof(header) + header;
  std::string name;
  for (const TensorInfo& tensor : (*checkpoint)->tensors()) {
    if (tensor.name.ends_with("q_proj.weight")) {
      name = tensor.name;
      file[offset + 2] = 0;  // behind f16 s1 of row 0
      break;
    }
    offset += tensor.bytes;
  }
  at.write("model.safetensors", file);
  const auto backend = reference();
  const Status status = load(at.to, {}, *backend).status();
  EXPECT_EQ(status.kind(), ErrorKind::kModel);
  EXPECT_NE(status.message().find(name + ": row 0 "), std::string::npos) << status.message();
}

}  // namespace
}  // namespace lserve::test
