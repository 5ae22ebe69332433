# Writes a C++ file with one text: Python files one after the other, without the lines by which
# they import each other.  cmake -DOUT=FILE -DNAME=kJudgeScript "-DFILES=a.py;b.py" -P embed.cmake
set(_text "")
foreach(_file IN LISTS FILES)
  file(READ "${_file}" _part)
  string(REGEX REPLACE "\nfrom (wire|remote|names|runner) import [^\n]*" "" _part "${_part}")
  string(APPEND _text "${_part}\n")
endforeach()
file(WRITE "${OUT}.new" "// Made by common/rewards/python/embed.cmake.
#include \"common/rewards/code_judge.h\"\n
namespace cohort::internal {\n
const char ${NAME}[] = R\"python(${_text})python\";\n
}  // namespace cohort::internal\n")
file(RENAME "${OUT}.new" "${OUT}")
