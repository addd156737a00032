// The retriever's example prompts: questions about facts hidden in 0.5K to 8K bytes.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "support/model_files.h"

namespace lserve::test {

struct ExamplePrompt {
  std::string prompt;
  std::string answer;
  std::string stop;
};

inline std::vector<ExamplePrompt> example_prompts() {
  std::vector<ExamplePrompt> prompts;
  const auto text = read_file(source_path("models/example_prompts.jsonl"), 1 << 24);
  EXPECT_TRUE(text.ok()) << text.status().message();
  if (!text.ok()) return prompts;
  for (size_t begin = 0; begin < text->size();) {
    const size_t end = text->find('\n', begin);
    const auto line = Json::parse(std::string_view(*text).substr(begin, end - begin), "prompts");
    EXPECT_TRUE(line.ok()) << line.status().message();
    if (!line.ok()) break;
    prompts.push_back({line->find("prompt")->as_string(), line->find("answer")->as_string(),
                       line->find("stop")->as_string()});
    if (end == std::string::npos) break;
    begin = end + 1;
  }
  return prompts;
}

}  // namespace lserve::test
