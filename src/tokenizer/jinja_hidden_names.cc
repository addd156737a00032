#include "tokenizer/jinja_hidden_names.h"

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <string_view>
#include <vector>

namespace lserve::jinja {

namespace {

// How a body's function comes to a name's first value: from its call, from outside, or not at all.
enum class Origin { kParameter, kOutside, kNowhere };

// The names of one body, or those that a branch in it adds.
struct Names {
  std::map<std::string, Origin, std::less<>> origins;
  std::set<std::string, std::less<>> stored;
};

class Analyser {
 public:
  std::vector<std::string> run(Body& body, const std::vector<std::string>& parameters) {
    frames_.emplace_back(1);
    for (const std::string& name : parameters) {
      frames_.back()[0].origins[name] = Origin::kParameter;
      frames_.back()[0].stored.insert(name);
    }
    visit(body);
    std::vector<std::string> hidden;
    for (const auto& [name, origin] : frames_.back()[0].origins) {
      if (origin == Origin::kNowhere) hidden.push_back(name);
    }
    // Inner bodies see all the names of this one.
    for (Statement& statement : body) enter(statement);
    frames_.pop_back();
    return hidden;
  }

 private:
  // A body's names, and those of the branches that the visit is in.
  using Frame = std::vector<Names>;

  static bool knows(const Frame& frame, std::string_view name) {
    return std::any_of(frame.begin(), frame.end(),
                       [&](const Names& names) { return names.origins.contains(name); });
  }
  static bool stores(const Frame& frame, std::string_view name) {
    return std::any_of(frame.begin(), frame.end(),
                       [&](const Names& names) { return names.stored.contains(name); });
  }
  bool is_known_outside(std::string_view name) const {
    return std::any_of(frames_.begin(), frames_.end() - 1,
                       [&](const Frame& frame) { return knows(frame, name); });
  }

  void load(const std::string& name) {
    if (knows(frames_.back(), name) || is_known_outside(name)) return;
    frames_.back().back().origins.emplace(name, Origin::kOutside);
  }

  void store(const std::string& name) {
    Frame& frame = frames_.back();
    if (!knows(frame, name)) {
      frame.back().origins[name] = is_known_outside(name) ? Origin::kOutside : Origin::kNowhere;
    }
    frame.back().stored.insert(name);
  }

  void visit(const Expression* node) {
    if (node == nullptr) return;
    if (node->kind == ExpressionKind::kName) load(node->text);
    for (const ExpressionPtr& operand : node->operands) visit(operand.get());
  }

  void visit_target(const Expression& target) {
    if (target.kind == ExpressionKind::kName) store(target.text);
    if (target.kind == ExpressionKind::kMember) visit(&target);
    if (target.kind != ExpressionKind::kTuple) return;
    for (const ExpressionPtr& operand : target.operands) visit_target(*operand);
  }

  void visit(const Body& body) {
    for (const Statement& statement : body) visit(statement);
  }

  // What belongs to the body that the statement stands in.
  void visit(const Statement& statement) {
    if (statement.kind == StatementKind::kIf) {
      visit_branches(statement);
      return;
    }
    for (const Assignment& assignment : statement.assignments) visit(assignment.value.get());
    if (statement.kind == StatementKind::kMacro) store(statement.macro->name);
    if (statement.kind != StatementKind::kSetBlock) visit(statement.expression.get());
    const bool assigns =
        statement.kind == StatementKind::kSet || statement.kind == StatementKind::kSetBlock;
    if (assigns) visit_target(*statement.target);
  }

  // jinja2 has three branches: the first body, all {% elif %} (each with branches of its own, one
  // after the other), and {% else %}.
  void visit_branches(const Statement& statement) {
    const auto& branches = statement.branches;
    visit(branches[0].condition.get());
    const bool has_else = branches.back().condition == nullptr;
    const size_t num_elifs = branches.size() - 1 - (has_else ? 1 : 0);
    merge({[&] { visit(branches[0].body); },
           [&] {
             for (size_t i = 1; i <= num_elifs; ++i) {
               visit(branches[i].condition.get());
               merge({[&] { visit(branches[i].body); }, [] {}, [] {}});
             }
           },
           [&] {
             if (has_else) visit(branches.back().body);
           }});
  }

  // A name that not all of the branches store comes from outside.
  void merge(const std::vector<std::function<void()>>& branches) {
    Names merged;
    std::map<std::string, size_t> counts;
    for (const auto& branch : branches) {
      frames_.back().emplace_back();
      branch();
      const Names added = std::move(frames_.back().back());
      frames_.back().pop_back();
      for (const auto& [name, origin] : added.origins) merged.origins[name] = origin;
      for (const std::string& name : added.stored) {
        if (!stores(frames_.back(), name)) ++counts[name];
        merged.stored.insert(name);
      }
    }
    for (const auto& [name, count] : counts) {
      if (count < branches.size()) merged.origins[name] = Origin::kOutside;
    }
    Names& before = frames_.back().back();
    for (const auto& [name, origin] : merged.origins) before.origins.insert_or_assign(name, origin);
    before.stored.merge(merged.stored);
  }

  // The names that a target sets, for the body that it is a parameter of.
  static void add_names(const Expression& target, std::vector<std::string>& names) {
    if (target.kind == ExpressionKind::kName) names.push_back(target.text);
    for (const ExpressionPtr& operand : target.operands) add_names(*operand, names);
  }

  // The bodies inside a statement that have a scope of their own.
  void enter(Statement& statement) {
    for (Branch& branch : statement.branches) {
      for (Statement& inner : branch.body) enter(inner);
    }
    std::vector<std::string> parameters;
    if (statement.macro != nullptr) {
      MacroDefinition& macro = *statement.macro;
      for (const MacroDefinition::Parameter& p : macro.parameters) parameters.push_back(p.name);
      if (macro.uses_caller) parameters.emplace_back("caller");
      if (macro.uses_varargs) parameters.emplace_back("varargs");
      if (macro.uses_kwargs) parameters.emplace_back("kwargs");
      macro.hidden = run(macro.body, parameters);
      return;
    }
    if (statement.kind == StatementKind::kFor) {
      add_names(*statement.target, parameters);
      parameters.emplace_back("loop");
    }
    for (const Assignment& assignment : statement.assignments) {
      add_names(*assignment.target, parameters);
    }
    statement.hidden = run(statement.body, parameters);
    statement.hidden_otherwise = run(statement.otherwise, {});
  }

  std::vector<Frame> frames_;
};

}  // namespace

void find_hidden_names(Template& source) { source.hidden = Analyser().run(source.body, {}); }

}  // namespace lserve::jinja
