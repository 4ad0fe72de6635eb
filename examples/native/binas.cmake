# binas_add_model(NAME FILE.binas) makes the imported library NAME from an artifact: link it, and
# include "model.h". Its property BINAS_WEIGHTS is the path of the weights to map at run time.
#
#   include(binas.cmake)
#   binas_add_model(net ${CMAKE_SOURCE_DIR}/net.binas)
#   target_link_libraries(app PRIVATE net)

cmake_minimum_required(VERSION 3.18)

function(binas_add_model name artifact)
  set(folder "${CMAKE_CURRENT_BINARY_DIR}/${name}")
  file(ARCHIVE_EXTRACT INPUT "${artifact}" DESTINATION "${folder}"
       PATTERNS libmodel.so model.h weights.bin)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${artifact}")
  add_library(${name} SHARED IMPORTED GLOBAL)
  set_target_properties(${name} PROPERTIES
    IMPORTED_LOCATION "${folder}/libmodel.so"
    IMPORTED_NO_SONAME TRUE
    INTERFACE_INCLUDE_DIRECTORIES "${folder}"
    BINAS_WEIGHTS "${folder}/weights.bin")
endfunction()
