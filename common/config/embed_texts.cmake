# Writes a C++ file that holds the texts of some files, so that `cohort` knows them wherever it is
# installed.  cmake -DOUT=FILE -DLIST=kRecipes "-DFILES=a.yaml;b.yaml" -P embed_texts.cmake
set(_out "// Made by common/config/embed_texts.cmake.\n")
string(APPEND _out "#include \"common/config/embedded.h\"\n\nnamespace cohort::internal {\n\n")
string(APPEND _out "const EmbeddedText ${LIST}[] = {\n")
list(SORT FILES)
foreach(_file IN LISTS FILES)
  get_filename_component(_name "${_file}" NAME_WE)
  file(READ "${_file}" _text)
  string(APPEND _out "{\"${_name}\", R\"text(${_text})text\"},\n")
endforeach()
list(LENGTH FILES _count)
# An array cannot be empty.
string(APPEND _out "{nullptr, nullptr}};\nconst size_t ${LIST}Count = ${_count};\n\n")
string(APPEND _out "}  // namespace cohort::internal\n")
file(WRITE "${OUT}.new" "${_out}")
file(RENAME "${OUT}.new" "${OUT}")
