#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/base/status_macros.h"
#include "common/config/studies.h"

namespace cohort {
namespace {

using Kind = StudyNode::Kind;

// The text between "${" and "}" as a reference.
StudyReference ToReference(absl::string_view inside) {
  const size_t colon = inside.find(':');
  if (colon == absl::string_view::npos) return {std::string(inside), ""};
  return {std::string(inside.substr(0, colon)), std::string(inside.substr(colon + 1))};
}

bool IsKnown(const StudyReference& reference) {
  if (reference.kind == "seed" || reference.kind == "out") return reference.name.empty();
  return !reference.name.empty() && (reference.kind == "model" || reference.kind == "run" ||
                                     reference.kind == "eval" || reference.kind == "file");
}

absl::Status Nothing(absl::string_view what, absl::string_view name) {
  return absl::InvalidArgumentError(absl::StrCat("the study has no ", what, " called ", name));
}

// What stands in the way of making one node: depth first, with the way that led here.
class Ordering {
 public:
  explicit Ordering(const v1::Study& study) : study_(study) {}

  absl::Status Add(const StudyNode& node) {
    State& state = states_[node];
    if (state == State::kDone) return absl::OkStatus();
    way_.push_back(NodeText(node));
    if (state == State::kOpen) {
      return absl::InvalidArgumentError(absl::StrCat("a circle: ", absl::StrJoin(way_, " needs ")));
    }
    state = State::kOpen;
    COHORT_ASSIGN_OR_RETURN(const std::vector<StudyNode> needed, NeededBy(node));
    for (const StudyNode& other : needed) COHORT_RETURN_IF_ERROR(Add(other));
    states_[node] = State::kDone;
    order_.push_back(node);
    way_.pop_back();
    return absl::OkStatus();
  }

  std::vector<StudyNode> Take() { return std::move(order_); }

 private:
  enum class State { kNew, kOpen, kDone };

  absl::StatusOr<StudyNode> ModelNode(const std::string& name) const {
    if (FindArm(study_, name) != nullptr) return StudyNode{Kind::kArm, name, ""};
    if (FindBase(study_, name) != nullptr) return StudyNode{Kind::kBase, name, ""};
    return Nothing("base or arm", name);
  }

  absl::StatusOr<StudyNode> EvalNode(const std::string& arm, const std::string& name) const {
    if (FindArm(study_, arm) == nullptr) return Nothing("arm", arm);
    const v1::StudyEval* eval = FindEval(study_, name);
    if (eval == nullptr) return Nothing("evaluation", name);
    if (!IsEvaluated(*eval, arm)) {
      return absl::InvalidArgumentError(
          absl::StrCat("evaluation ", name, " is not made of arm ", arm, "; add it to its arms"));
    }
    return StudyNode{Kind::kEval, name, arm};
  }

  absl::Status AddReference(const StudyReference& reference, std::vector<StudyNode>* out) const {
    if (reference.kind == "seed" || reference.kind == "out") return absl::OkStatus();
    StudyNode node;
    if (reference.kind == "model") {
      COHORT_ASSIGN_OR_RETURN(node, ModelNode(reference.name));
    } else if (reference.kind == "file") {
      if (FindFile(study_, reference.name) == nullptr) return Nothing("file", reference.name);
      node = {Kind::kFile, reference.name, ""};
    } else if (reference.kind == "run") {
      const v1::StudyArm* arm = FindArm(study_, reference.name);
      if (arm == nullptr || !IsTrained(*arm)) return Nothing("trained arm", reference.name);
      node = {Kind::kArm, reference.name, ""};
    } else {
      const std::vector<std::string> parts = absl::StrSplit(reference.name, '/');
      if (parts.size() != 2) {
        return absl::InvalidArgumentError(
            absl::StrCat("expected ${eval:ARM/EVAL}, found ${eval:", reference.name, "}"));
      }
      COHORT_ASSIGN_OR_RETURN(node, EvalNode(parts[0], parts[1]));
    }
    out->push_back(node);
    return absl::OkStatus();
  }

  template <typename Texts>
  absl::Status AddTexts(const Texts& texts, std::vector<StudyNode>* out) const {
    for (const std::string& text : texts) {
      COHORT_ASSIGN_OR_RETURN(const std::vector<StudyReference> references, ReferencesIn(text));
      for (const StudyReference& reference : references) {
        COHORT_RETURN_IF_ERROR(AddReference(reference, out));
      }
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<StudyNode>> NeededBy(const StudyNode& node) const {
    std::vector<StudyNode> out;
    if (node.kind == Kind::kBase) {
      const v1::StudyBase* base = FindBase(study_, node.name);
      if (base == nullptr) return Nothing("base", node.name);
      COHORT_RETURN_IF_ERROR(AddTexts(base->set(), &out));
      COHORT_RETURN_IF_ERROR(AddTexts(base->tiny_model(), &out));
    } else if (node.kind == Kind::kFile) {
      const v1::StudyFile* file = FindFile(study_, node.name);
      if (file == nullptr) return Nothing("file", node.name);
      COHORT_RETURN_IF_ERROR(AddTexts(file->run(), &out));
    } else if (node.kind == Kind::kArm) {
      const v1::StudyArm* arm = FindArm(study_, node.name);
      if (arm == nullptr) return Nothing("arm", node.name);
      COHORT_ASSIGN_OR_RETURN(StudyNode start, ModelNode(StartOf(study_, *arm)));
      out.push_back(std::move(start));
      COHORT_RETURN_IF_ERROR(AddTexts(arm->set(), &out));
    } else if (node.kind == Kind::kLogits) {
      COHORT_ASSIGN_OR_RETURN(StudyNode eval, EvalNode(node.arm, node.name));
      out.push_back(std::move(eval));
    } else if (node.kind == Kind::kComparison) {
      const v1::StudyEval* eval = FindEval(study_, node.name);
      if (eval == nullptr) return Nothing("evaluation", node.name);
      for (const std::string& arm : ArmsOf(study_, *eval)) {
        out.push_back({Kind::kEval, node.name, arm});
      }
    } else {
      COHORT_RETURN_IF_ERROR(EvalNode(node.arm, node.name).status());
      const v1::StudyEval* eval = FindEval(study_, node.name);
      out.push_back({Kind::kArm, node.arm, ""});
      COHORT_RETURN_IF_ERROR(AddTexts(std::vector<std::string>{eval->path()}, &out));
      COHORT_RETURN_IF_ERROR(AddTexts(eval->args(), &out));
    }
    return out;
  }

  const v1::Study& study_;
  std::map<StudyNode, State> states_;
  std::vector<std::string> way_;
  std::vector<StudyNode> order_;
};

StudyNode NodeOf(const v1::StudyTerm& term, const StudyMetric& metric) {
  switch (metric.kind) {
    case StudyMetric::Kind::kEval:
      return {Kind::kEval, metric.eval, term.arm()};
    case StudyMetric::Kind::kLogits:
      return {Kind::kLogits, metric.eval, term.arm()};
    case StudyMetric::Kind::kTrain:
      break;
  }
  return {Kind::kArm, term.arm(), ""};
}

}  // namespace

absl::StatusOr<std::vector<StudyReference>> ReferencesIn(absl::string_view text) {
  std::vector<StudyReference> out;
  for (size_t at = text.find("${"); at != absl::string_view::npos; at = text.find("${", at)) {
    const size_t end = text.find('}', at);
    const StudyReference reference = end == absl::string_view::npos
                                         ? StudyReference{}
                                         : ToReference(text.substr(at + 2, end - at - 2));
    if (!IsKnown(reference)) {
      return absl::InvalidArgumentError(
          absl::StrCat("expected ${model:NAME}, ${run:ARM}, ${eval:ARM/EVAL}, ${file:NAME} or "
                       "${seed}, found '",
                       text.substr(at), "'"));
    }
    out.push_back(reference);
    at = end;
  }
  return out;
}

std::string ReplaceReferences(absl::string_view text,
                              const std::function<std::string(const StudyReference&)>& value) {
  std::string out;
  for (;;) {
    const size_t at = text.find("${");
    const size_t end = at == absl::string_view::npos ? at : text.find('}', at);
    absl::StrAppend(&out, text.substr(0, end == absl::string_view::npos ? end : at));
    if (end == absl::string_view::npos) return out;
    absl::StrAppend(&out, value(ToReference(text.substr(at + 2, end - at - 2))));
    text.remove_prefix(end + 1);
  }
}

std::string NodeText(const StudyNode& node) {
  switch (node.kind) {
    case Kind::kBase:
      return absl::StrCat("base ", node.name);
    case Kind::kFile:
      return absl::StrCat("file ", node.name);
    case Kind::kArm:
      return absl::StrCat("arm ", node.name);
    case Kind::kLogits:
      return absl::StrCat("logits of ", node.arm, " on ", node.name);
    case Kind::kComparison:
      return absl::StrCat("comparison on ", node.name);
    case Kind::kEval:
      break;
  }
  return absl::StrCat("evaluation ", node.name, " of ", node.arm);
}

absl::StatusOr<std::vector<StudyNode>> InOrder(const v1::Study& study,
                                               const std::vector<StudyNode>& wanted) {
  Ordering ordering(study);
  for (const StudyNode& node : wanted) COHORT_RETURN_IF_ERROR(ordering.Add(node));
  return ordering.Take();
}

std::vector<StudyNode> AllNodes(const v1::Study& study) {
  std::vector<StudyNode> all;
  for (const v1::StudyArm& arm : study.arms()) {
    all.push_back({Kind::kArm, arm.name(), ""});
    for (const v1::StudyEval& eval : study.evals()) {
      if (IsEvaluated(eval, arm.name())) all.push_back({Kind::kEval, eval.name(), arm.name()});
    }
  }
  for (const v1::StudyClaim& claim : study.claims()) {
    for (const v1::StudyTerm& term : claim.terms()) {
      const absl::StatusOr<StudyMetric> metric = ParseStudyMetric(term.metric());
      if (metric.ok() && metric->kind == StudyMetric::Kind::kLogits) {
        all.push_back(NodeOf(term, *metric));
      }
    }
  }
  for (const v1::StudyEval& eval : study.evals()) {
    if (eval.compare()) all.push_back({Kind::kComparison, eval.name(), ""});
  }
  return all;
}

absl::StatusOr<std::vector<StudyNode>> NodesOf(const v1::Study& study,
                                               const v1::StudyClaim& claim) {
  std::vector<StudyNode> out;
  for (const v1::StudyTerm& term : claim.terms()) {
    COHORT_ASSIGN_OR_RETURN(const StudyMetric metric, ParseStudyMetric(term.metric()));
    out.push_back(NodeOf(term, metric));
  }
  return InOrder(study, out);
}

}  // namespace cohort
