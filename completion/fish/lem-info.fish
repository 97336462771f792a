# fish completion for lem-info; made by tools/completions.py
complete -c lem-info -l json -d 'Print JSON Lines'
complete -c lem-info -l quiet -s q -d 'No notes and no progress on standard error'
complete -c lem-info -l verbose -s v -d 'Say more on standard error'
complete -c lem-info -l debug -d 'Show the traceback of an error'
complete -c lem-info -l version -d 'Show the version and exit'
complete -c lem-info -s h -l help -d 'Show this message and exit'
