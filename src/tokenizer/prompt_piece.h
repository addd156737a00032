// The prompt as pieces, because what a user wrote must never become a control token.
#pragma once

#include <string>

namespace lserve {

struct PromptPiece {
  std::string text;
  bool from_message = false;  // these bytes came from a message: read as SpecialTokens::kAsText
};

}  // namespace lserve
