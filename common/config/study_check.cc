#include <algorithm>
#include <cmath>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/config/config.h"
#include "common/config/recipes.h"
#include "common/config/schema.h"
#include "common/config/studies.h"

namespace cohort {
namespace {

// What stands for a placeholder while a configuration is checked.
std::string Dummy(const StudyReference& reference) {
  return reference.kind == "seed" ? "1" : reference.kind;
}

// Names become parts of paths.
bool IsPathName(const std::string& name) {
  if (name.empty() || name[0] == '.') return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '-' || c == '.';
  });
}

class Checker {
 public:
  explicit Checker(const v1::Study& study) : study_(study) {}

  absl::Status Run() {
    if (study_.title().empty()) Add("title: expected one line, found nothing");
    if (study_.seeds() < 1) Add("seeds: expected at least 1, found ", study_.seeds());
    if (!(study_.minutes_per_seed() >= 0)) Add("minutes_per_seed: expected 0 or more");
    NoReferences("set", study_.set());
    CheckNames();
    for (const v1::StudyBase& base : study_.bases()) CheckBase(base);
    for (const v1::StudyFile& file : study_.files()) {
      if (file.run().empty()) Add("file ", file.name(), ": expected arguments in run");
    }
    for (const v1::StudyEval& eval : study_.evals()) CheckEval(eval);
    for (const v1::StudyArm& arm : study_.arms()) CheckArm(arm);
    for (const v1::StudyClaim& claim : study_.claims()) CheckClaim(claim);
    CheckOrder();
    if (lines_.empty()) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrJoin(lines_, "; "));
  }

 private:
  template <typename... Args>
  void Add(const Args&... args) {
    lines_.push_back(absl::StrCat(args...));
  }

  template <typename List>
  static std::vector<std::string> Names(const List& list) {
    std::vector<std::string> names;
    for (const auto& entry : list) names.push_back(entry.name());
    return names;
  }

  void CheckNames() {
    if (study_.arms().empty()) Add("arms: expected at least one");
    std::vector<std::string> models = Names(study_.bases());
    const std::vector<std::string> arms = Names(study_.arms());
    models.insert(models.end(), arms.begin(), arms.end());
    CheckUnique("bases and arms", models, true);
    CheckUnique("files", Names(study_.files()), true);
    CheckUnique("evals", Names(study_.evals()), true);
    CheckUnique("claims", Names(study_.claims()), false);
  }

  void CheckUnique(const char* what, const std::vector<std::string>& names, bool paths) {
    std::set<std::string> seen;
    for (const std::string& name : names) {
      if (paths ? !IsPathName(name) : name.empty()) {
        Add(what, ": expected a name of letters, digits, '_', '-' and '.', found '", name, "'");
      }
      if (!seen.insert(name).second) Add(what, ": '", name, "' is there twice");
    }
  }

  template <typename Texts>
  void NoReferences(const std::string& where, const Texts& texts) {
    for (const std::string& text : texts) {
      if (text.find("${") != std::string::npos) {
        Add(where, ": expected no ${...}, which differs by seed, found ", text);
      }
    }
  }

  void CheckBase(const v1::StudyBase& base) {
    const std::string where = absl::StrCat("base ", base.name());
    NoReferences(where, base.tiny_model());
    for (const std::string& text : base.set()) {
      const auto references = ReferencesIn(text);
      if (!references.ok()) continue;  // said by CheckOrder
      for (const StudyReference& reference : *references) {
        if (reference.kind == "model" && FindBase(study_, reference.name) != nullptr) continue;
        Add(where, ": expected only ${model:BASE}, since all seeds share it, found ", text);
      }
    }
    std::vector<std::string> overrides = OverridesOf(study_, base);
    if (!base.tiny_model().empty()) overrides.push_back("model.path=model");
    if (base.has_sft()) {
      CheckConfig(where, ConfigurationOf(base), overrides);
    } else if (base.tiny_model().empty()) {
      Add(where, ": expected tiny_model or sft, found neither");
    }
  }

  void CheckArm(const v1::StudyArm& arm) {
    const std::string where = absl::StrCat("arm ", arm.name());
    const std::string start = StartOf(study_, arm);
    if (FindBase(study_, start) == nullptr && FindArm(study_, start) == nullptr) {
      std::vector<std::string> names = Names(study_.bases());
      const std::vector<std::string> arms = Names(study_.arms());
      names.insert(names.end(), arms.begin(), arms.end());
      Add(where, ": from: no base and no arm is called '", start, "'; ", Suggest(start, names));
    }
    if (arm.has_recipe() && arm.has_sft()) {
      return Add(where, ": expected a recipe or sft, found both");
    }
    if (!IsTrained(arm)) {
      if (!arm.set().empty()) Add(where, ": set: it is not trained; give it a recipe or sft");
      return;
    }
    std::vector<std::string> overrides = OverridesOf(study_, arm);
    overrides.push_back("model.path=model");
    CheckConfig(where, ConfigurationOf(arm), overrides);
  }

  void CheckConfig(const std::string& where, const std::string& configuration,
                   std::vector<std::string> overrides) {
    for (std::string& text : overrides) text = ReplaceReferences(text, Dummy);
    absl::StatusOr<v1::RunConfig> config = LoadConfig(configuration, overrides);
    if (absl::IsNotFound(config.status())) {
      return Add(where, ": ", FindRecipe(configuration).status().message());
    }
    if (!config.ok()) return Add(where, ": ", config.status().message());
    ResolveConfig("study", &*config);
    const absl::Status status = ValidateConfig(*config);
    if (!status.ok()) Add(where, ": ", status.message());
  }

  void CheckEval(const v1::StudyEval& eval) {
    const std::string where = absl::StrCat("evaluation ", eval.name());
    if (eval.has_task() == eval.has_path()) {
      Add(where, ": expected either a task or a path, found ",
          eval.has_task() ? "both" : "neither");
    }
    if (eval.split() != "train" && eval.split() != "heldout") {
      Add(where, ".split: expected train or heldout, found '", eval.split(), "'");
    }
    if (eval.prompts() < 0) Add(where, ".prompts: expected 0 or more, found ", eval.prompts());
    if (eval.samples() < 1) Add(where, ".samples: expected at least 1, found ", eval.samples());
    if (eval.max_new_tokens() < 1) Add(where, ".max_new_tokens: expected at least 1");
    if (!(eval.temperature() >= 0)) Add(where, ".temperature: expected 0 or more");
    for (const std::string& arm : eval.arms()) {
      if (FindArm(study_, arm) != nullptr) continue;
      Add(where, ".arms: no arm is called '", arm, "'; ", Suggest(arm, Names(study_.arms())));
    }
    if (eval.compare() && ArmsOf(study_, eval).size() < 2) {
      Add(where, ".compare: expected at least two arms that are evaluated so");
    }
  }

  void CheckClaim(const v1::StudyClaim& claim) {
    const std::string where = absl::StrCat("claim ", claim.name());
    const int bounds = int{claim.has_above()} + int{claim.has_below()} + int{claim.has_within()};
    if (bounds != 1) {
      Add(where, ": expected exactly one of above, below and within, found ", bounds);
    }
    if (claim.has_within() && !(claim.within() >= 0)) Add(where, ".within: expected 0 or more");
    if (claim.terms().empty()) Add(where, ": expected at least one of terms");
    for (const v1::StudyTerm& term : claim.terms()) CheckTerm(where, term);
  }

  void CheckTerm(const std::string& where, const v1::StudyTerm& term) {
    const v1::StudyArm* arm = FindArm(study_, term.arm());
    if (arm == nullptr) {
      return Add(where, ": no arm is called '", term.arm(), "'; ",
                 Suggest(term.arm(), Names(study_.arms())));
    }
    if (!std::isfinite(term.weight())) Add(where, ": weight: expected a number");
    const absl::StatusOr<StudyMetric> metric = ParseStudyMetric(term.metric());
    if (!metric.ok()) return Add(where, ": metric: ", metric.status().message());
    if (metric->kind == StudyMetric::Kind::kTrain) {
      if (!IsTrained(*arm)) Add(where, ": arm ", arm->name(), " is not trained: ", term.metric());
      return;
    }
    const v1::StudyEval* eval = FindEval(study_, metric->eval);
    if (eval == nullptr) {
      return Add(where, ": no evaluation is called '", metric->eval, "'; ",
                 Suggest(metric->eval, Names(study_.evals())));
    }
    if (!IsEvaluated(*eval, arm->name())) {
      Add(where, ": evaluation ", eval->name(), " is not made of arm ", arm->name(),
          "; add it to its arms");
    }
    if (metric->k > eval->samples()) {
      Add(where, ": ", term.metric(), ": evaluation ", eval->name(), " has ", eval->samples(),
          " samples per problem");
    }
  }

  // Everything that something names is there, and nothing needs itself. One mistake at a time.
  void CheckOrder() {
    std::vector<StudyNode> nodes = AllNodes(study_);
    for (const v1::StudyBase& base : study_.bases()) {
      nodes.push_back({StudyNode::Kind::kBase, base.name(), ""});
    }
    for (const v1::StudyFile& file : study_.files()) {
      nodes.push_back({StudyNode::Kind::kFile, file.name(), ""});
    }
    for (const StudyNode& node : nodes) {
      const absl::Status status = InOrder(study_, {node}).status();
      if (!status.ok()) return Add(NodeText(node), ": ", status.message());
    }
  }

  const v1::Study& study_;
  std::vector<std::string> lines_;
};

}  // namespace

absl::Status CheckStudy(const v1::Study& study) { return Checker(study).Run(); }

}  // namespace cohort
