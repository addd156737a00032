// Finds added tokens in text: the longest at each position, from the left, as tokenizers does.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "checkpoint/tokenizer_data.h"

namespace lserve {

class AddedTokenMatcher {
 public:
  // REQUIRES: no text is empty, none occurs twice.
  explicit AddedTokenMatcher(const std::vector<AddedToken>& tokens);

  struct Match {
    int32_t id = 0;
    size_t length = 0;
  };
  // The longest token at text[position] that is allowed there: an ordinary added token anywhere,
  // a control token only if it ends by `special_end`. Costs at most the longest token's length.
  std::optional<Match> match(std::string_view text, size_t position, size_t special_end) const;

 private:
  struct Node {
    int32_t id = -1;
    bool special = false;
  };
  std::array<bool, 256> first_bytes_{};
  std::vector<Node> nodes_;                          // a trie; nodes_[0] is the root
  std::unordered_map<uint64_t, uint32_t> children_;  // node * 256 + byte -> node
};

}  // namespace lserve
