// Renders templates in bulk, for tools/compare_chat_templates.py: a line of JSON in (source and the
// members of ChatInput), a line of JSON out (text, or error).
#include <cstdio>
#include <iostream>
#include <string>

#include "tokenizer/test_chat_input.h"

int main() {
  using namespace lserve;
  std::ios::sync_with_stdio(false);
  std::string line;
  while (std::getline(std::cin, line)) {
    const Result<Json> row = Json::parse(line, "row");
    if (!row.ok() || row->find("source") == nullptr) {
      std::fprintf(stderr, "%s\n", row.ok() ? "no source" : row.status().message().c_str());
      return 1;
    }
    Json answer = Json::object();
    const auto parsed = ChatTemplate::parse(row->find("source")->as_string());
    const auto pieces = parsed.ok() ? (*parsed)->render(chat_input_of(*row))
                                    : Result<std::vector<PromptPiece>>(parsed.status());
    if (pieces.ok()) {
      std::string text;
      for (const PromptPiece& piece : *pieces) text += piece.text;
      answer.set("text", text);
    } else {
      answer.set("error", pieces.status().message());
    }
    std::cout << answer.dump() << '\n';
  }
  return 0;
}
