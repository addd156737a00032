// Example prompts with their answers: the retriever's, questions about facts hidden in 0.5K to 8K
// bytes, and those of the adapter that lengthens SmolLM2, about facts in 4K to 16K tokens.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "support/model_files.h"

namespace lserve::test {

// The lines of a file of JSON objects.
inline std::vector<Json> json_lines(const std::string& path) {
  std::vector<Json> lines;
  const auto text = read_file(path, 1 << 24);
  EXPECT_TRUE(text.ok()) << text.status().message();
  if (!text.ok()) return lines;
  for (size_t begin = 0; begin < text->size();) {
    const size_t end = text->find('\n', begin);
    auto line = Json::parse(std::string_view(*text).substr(begin, end - begin), path);
    EXPECT_TRUE(line.ok()) << line.status().message();
    if (!line.ok()) break;
    lines.push_back(std::move(line).value());
    if (end == std::string::npos) break;
    begin = end + 1;
  }
  return lines;
}

struct ExamplePrompt {
  std::string prompt;
  std::string answer;
  std::string stop;
};

inline std::vector<ExamplePrompt> example_prompts(
    const std::string& path = source_path("models/example_prompts.jsonl")) {
  std::vector<ExamplePrompt> prompts;
  for (const Json& line : json_lines(path)) {
    prompts.push_back({line.find("prompt")->as_string(), line.find("answer")->as_string(),
                       line.find("stop")->as_string()});
  }
  return prompts;
}

struct LongPrompt {
  int64_t id;
  std::string user;  // what stands in the user's turn; the template adds the rest
  std::string answer;
  int64_t prompt_tokens;
};

inline std::vector<LongPrompt> long_prompts(const std::string& adapter) {
  constexpr std::string_view kBefore = "<|im_start|>user\n";
  constexpr std::string_view kAfter = "<|im_end|>\n<|im_start|>assistant\n";
  std::vector<LongPrompt> prompts;
  for (const Json& line : json_lines(adapter + "/example_prompts.jsonl")) {
    std::string user = line.find("prompt")->as_string();
    EXPECT_TRUE(user.ends_with(kAfter));
    user.resize(user.size() - kAfter.size());
    user = user.substr(user.find(kBefore) + kBefore.size());
    prompts.push_back({line.find("id")->as_int(), std::move(user), line.find("answer")->as_string(),
                       line.find("prompt_tokens")->as_int()});
  }
  return prompts;
}

}  // namespace lserve::test
