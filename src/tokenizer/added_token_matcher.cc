#include "tokenizer/added_token_matcher.h"

#include "base/check.h"

namespace lserve {

namespace {
uint64_t edge(uint32_t node, char byte) {
  return uint64_t{node} << 8 | static_cast<unsigned char>(byte);
}
}  // namespace

AddedTokenMatcher::AddedTokenMatcher(const std::vector<AddedToken>& tokens) : nodes_(1) {
  for (const AddedToken& token : tokens) {
    CHECK(!token.text.empty());
    first_bytes_[static_cast<unsigned char>(token.text[0])] = true;
    uint32_t node = 0;
    for (const char byte : token.text) {
      const auto [child, is_new] =
          children_.emplace(edge(node, byte), static_cast<uint32_t>(nodes_.size()));
      if (is_new) nodes_.emplace_back();
      node = child->second;
    }
    CHECK_EQ(nodes_[node].id, -1);
    nodes_[node] = {token.id, token.special};
  }
}

std::optional<AddedTokenMatcher::Match> AddedTokenMatcher::match(std::string_view text,
                                                                 size_t position,
                                                                 size_t special_end) const {
  if (!first_bytes_[static_cast<unsigned char>(text[position])]) return std::nullopt;
  std::optional<Match> longest;
  uint32_t node = 0;
  for (size_t i = position; i < text.size(); ++i) {
    const auto child = children_.find(edge(node, text[i]));
    if (child == children_.end()) break;
    node = child->second;
    const size_t end = i + 1;
    if (nodes_[node].id >= 0 && (!nodes_[node].special || end <= special_end)) {
      longest = Match{nodes_[node].id, end - position};
    }
  }
  return longest;
}

}  // namespace lserve
