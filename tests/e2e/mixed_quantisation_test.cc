// A file as people have it: Q4_K, Q6_K, Q4_0 and Q8_0 matrices beside F32 norms. Made of the
// retriever at run time: rows of whole super-blocks become Q4_K or Q6_K by turns, as the mixtures
// called Q4_K_M have it, the other matrices Q4_0, and the embedding stays Q8_0.
#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "checkpoint/ggml_type.h"
#include "support/engine_harness.h"
#include "support/example_prompts.h"
#include "support/gguf_copy.h"
#include "support/model_files.h"
#include "support/quantise.h"
#include "support/record.h"
#include "support/temp_directory.h"

namespace lserve::test {
namespace {

Record& record() {
  static Record instance("quality_mixed_quantisation",
                         "e2e_test --gtest_filter=MixedQuantisation.*");
  return instance;
}

void requantise(GgufWriter::Tensor* tensor, GgmlTypeCode type) {
  const WeightFormat from = find_ggml_type(tensor->type)->format.value();
  const WeightFormat to = find_ggml_type(type)->format.value();
  std::vector<float> values(tensor->dims[0] * tensor->dims[1]);
  dequantise_row(from, std::as_bytes(std::span(tensor->data)), values);
  tensor->data = testing::quantise(to, values);
  tensor->type = type;
}

// The retriever with other matrices.
GgufWriter mixture() {
  auto copied = copy_gguf(retriever_gguf());
  EXPECT_TRUE(copied.ok()) << copied.status().message();
  GgufWriter writer = std::move(copied).value();
  bool six = false;
  for (GgufWriter::Tensor& tensor : writer.tensors) {
    if (tensor.dims.size() != 2 || tensor.name == "token_embd.weight") continue;
    if (tensor.dims[0] % kSuperBlock != 0) {
      requantise(&tensor, kGgmlQ4_0);
    } else {
      six = !six;
      requantise(&tensor, six ? kGgmlQ6_K : kGgmlQ4_K);
    }
  }
  return writer;
}

EngineConfig config_for(const std::string& path) {
  EngineConfig config;
  config.model_path = path;
  config.mode = AttentionMode::kDense;
  config.max_model_len = 9216;
  return config;
}

double accuracy(const EngineConfig& config) {
  auto opened = open_harness(config);
  EXPECT_TRUE(opened.ok()) << opened.status().message();
  if (!opened.ok()) return -1;
  const std::vector<ExamplePrompt> prompts = example_prompts();
  int64_t asked = 0;
  int64_t right = 0;
  for (size_t i = 0; i < prompts.size(); i += 4) {
    const ExamplePrompt& example = prompts[i];
    Request request;
    request.prompt = opened->prompts->raw(example.prompt);
    request.max_tokens = 16;
    request.stops = {example.stop};
    const auto answer = opened->answer(request);
    EXPECT_TRUE(answer.ok()) << answer.status().message();
    ++asked;
    if (answer.ok() && answer->text == example.answer) ++right;
  }
  EXPECT_EQ(asked, 10);
  return static_cast<double>(right) / static_cast<double>(asked);
}

TEST(MixedQuantisation, HoldsEveryFormat) {
  const TempDirectory directory;
  const auto model = Checkpoint::open(directory.write("m.gguf", mixture().build()));
  ASSERT_TRUE(model.ok()) << model.status().message();
  std::map<WeightFormat, int> count;
  for (const TensorInfo& tensor : (*model)->tensors()) ++count[tensor.format];
  EXPECT_EQ(count[WeightFormat::kQ8_0], 1);
  EXPECT_EQ(count[WeightFormat::kQ4_0], 8 * 5);
  EXPECT_EQ(count[WeightFormat::kQ4_K], 8);
  EXPECT_EQ(count[WeightFormat::kQ6_K], 8);
  EXPECT_EQ(count[WeightFormat::kF32], 8 * 2 + 1);
}

TEST(MixedQuantisation, AnswersStayRight) {
  const TempDirectory directory;
  const EngineConfig config = config_for(directory.write("m.gguf", mixture().build()));
  const double share = accuracy(config);
  record().add("dense, Q4_K, Q6_K and Q4_0", share, "fraction of 10", ">= 0.9", share >= 0.9);
  EXPECT_GE(share, 0.9);
}

// A scale that is no number makes the answer an error, never nonsense.
TEST(MixedQuantisation, NonFiniteScaleIsNoticed) {
  const TempDirectory directory;
  GgufWriter writer = mixture();
  constexpr uint16_t kNan = 0x7E00;
  for (const GgmlTypeCode type : {kGgmlQ4_0, kGgmlQ4_K, kGgmlQ6_K}) {
    GgufWriter damaged = writer;
    const auto tensor = std::ranges::find(damaged.tensors, type, &GgufWriter::Tensor::type);
    ASSERT_NE(tensor, damaged.tensors.end());
    std::memcpy(tensor->data.data() + (type == kGgmlQ6_K ? Q6KBlock::kBytes - 2 : 0), &kNan, 2);
    OPEN_HARNESS(harness, config_for(directory.write("m.gguf", damaged.build())));
    Request request;
    request.prompt = harness.prompts->raw("Hello");
    request.max_tokens = 4;
    const auto answer = harness.answer(request);
    ASSERT_FALSE(answer.ok()) << tensor->name;
    EXPECT_EQ(answer.status().kind(), ErrorKind::kRuntime);
    EXPECT_NE(answer.status().message().find("finite"), std::string::npos)
        << answer.status().message();
  }
}

}  // namespace
}  // namespace lserve::test
