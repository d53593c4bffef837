//! Executables, adapters, and pictures by librrd.

pub(super) const TEXTS: &[(&str, &str)] = &[
    // Kinds.
    ("Executable", "Exécutable"),
    ("Check of Nagios (monitoring-plugins)", "Sonde Nagios (monitoring-plugins)"),
    ("Munin plugin", "Greffon Munin"),
    // Sections that munin's categories become.
    ("Usage", "Utilisation"),
    ("Services", "Services"),
    ("System", "Système"),
    ("Network", "Réseau"),
    ("Storage", "Stockage"),
    ("Security", "Sécurité"),
    // Runs.
    ("{}; it said: {}", "{} ; message : {}"),
    ("Standard error: {}", "Sortie d'erreur : {}"),
    (
        "an earlier run (process {}) cannot be ended: it hangs in the kernel, on a disk or a network file system that does not answer perhaps; it is measured again when that process is gone",
        "impossible de mettre fin à une exécution antérieure (processus {}) : elle est bloquée dans le noyau, peut-être par un disque ou un système de fichiers réseau qui ne répond pas ; la mesure reprendra dès la fin de ce processus",
    ),
    ("there is no command", "aucune commande n'est indiquée"),
    (
        "there is no program {}: neither in {} nor in the search path; write its whole path, or install it",
        "le programme {} est introuvable, dans {} comme dans le chemin de recherche ; écrire son chemin complet ou l'installer",
    ),
    (
        "there is no program {} in the search path; write its whole path, or install it",
        "le programme {} est introuvable dans le chemin de recherche ; écrire son chemin complet ou l'installer",
    ),
    (
        "{} is not there, nor perhaps what its first line names; install it, or correct `command`",
        "{} est absent, ou l'interpréteur que nomme sa première ligne ; l'installer ou corriger `command`",
    ),
    (
        "{} cannot be run: {}; is it executable, and may the user it runs as reach it?",
        "{} ne peut pas être exécuté : {} ; est-il exécutable, et accessible à l'utilisateur choisi ?",
    ),
    ("{} cannot be run: {}", "{} ne peut pas être exécuté : {}"),
    ("it cannot be run: {}", "il ne peut pas être exécuté : {}"),
    ("its directory {} cannot be made: {}", "son répertoire {} ne peut pas être créé : {}"),
    (
        "a link needs a directory, and there is none: take out `link`",
        "un lien demande un répertoire, et il n'y en a pas : retirer `link`",
    ),
    ("the link {} cannot be made: {}", "le lien {} ne peut pas être créé : {}"),
    ("it says that it makes no sense here ({})", "il indique qu'il n'a pas lieu d'être ici ({})"),
    (
        "to say what it is took it {} s: it is measured the next time",
        "se décrire lui a pris {} s : il sera mesuré la prochaine fois",
    ),
    (
        "asked what it is (`describe`): {}; it is asked again the next time",
        "interrogé sur lui-même (`describe`) : {} ; la question sera reposée la prochaine fois",
    ),
    // Streams.
    ("no line came yet", "aucune ligne reçue pour l'instant"),
    ("no line came for over {} s", "aucune ligne reçue depuis plus de {} s"),
    ("it wrote a line of more than {} bytes", "il a écrit une ligne de plus de {} octets"),
    ("it ended ({})", "il s'est terminé ({})"),
    ("it closed its output", "il a fermé sa sortie"),
    ("{}; it is started again in {} s", "{} ; il sera relancé dans {} s"),
    // Answers.
    (
        "its answer is not understood: {}; expected one object as {\"v\":1,\"fields\":{\"jobs\":12}}, it begins with \"{}\"",
        "sa réponse n'est pas comprise : {} ; un objet comme {\"v\":1,\"fields\":{\"jobs\":12}} est attendu, elle commence par « {} »",
    ),
    (
        "its answer is of version {}; this program understands \"v\":1",
        "sa réponse est de version {} ; ce programme comprend \"v\":1",
    ),
    (
        "field \"{}\" of its answer is neither a number nor a text",
        "le champ « {} » de sa réponse n'est ni un nombre ni un texte",
    ),
    (
        "the status \"{}\" of its answer is none of ok, warn, error, unknown",
        "l'état « {} » de sa réponse n'est pas l'un de ok, warn, error, unknown",
    ),
    ("keys of the answer that are not known: {}", "clés inconnues de la réponse : {}"),
    ("keys that a description cannot have: {}", "clés qu'une description ne peut pas avoir : {}"),
    (
        "its output is not JSON: {}; it begins with \"{}\"",
        "sa sortie n'est pas du JSON : {} ; elle commence par « {} »",
    ),
    ("\"{}\" is no line of the influx protocol", "« {} » n'est pas une ligne du protocole influx"),
    ("\"{}\" is no line of collectd's exec plugin", "« {} » n'est pas une ligne du greffon exec de collectd"),
    ("{}; expected as in: {}", "{} ; forme attendue : {}"),
    ("\"{}\" is no performance data", "« {} » n'est pas une donnée de performance"),
    (
        "{}, which no check may have (0 OK, 1 warning, 2 critical, 3 unknown); it said: {}",
        "{}, qu'une sonde ne peut pas avoir (0 OK, 1 attention, 2 critique, 3 inconnu) ; message : {}",
    ),
    ("{}: the cdef \"{}\" is not applied", "{} : la cdef « {} » n'est pas appliquée"),
    ("{}: the type \"{}\" is not known", "{} : le type « {} » est inconnu"),
    (
        "{} values are left out: there may be {} fields, {} instances and {} values",
        "{} valeurs sont écartées : {} champs, {} instances et {} valeurs au plus",
    ),
    ("and {} more {remark|remarks}", "et {} {autre remarque|autres remarques}"),
    ("yes", "oui"),
    ("no", "non"),
    // Pictures.
    (
        "librrd is not installed (Debian package librrd8); pictures of raw rrdgraph arguments need it",
        "librrd n'est pas installée (paquet Debian librrd8) ; les images à arguments rrdgraph en ont besoin",
    ),
    ("there is no file of the data source \"{}\" yet", "la source de données « {} » n'a pas encore de fichier"),
    ("librrd: {}", "librrd : {}"),
    ("the process that draws: {}", "le processus de dessin : {}"),
    ("too many pictures are being drawn; try again", "trop d'images sont en cours de dessin ; réessayer"),
    (
        "the times {} and {} and the size {} x {} make no picture",
        "les dates {} et {} et la taille {} x {} ne font pas une image",
    ),
    (
        "nothing is to be drawn: the graph has neither series nor vnamedefs",
        "rien à dessiner : le graphe n'a ni series ni vnamedefs",
    ),
    (
        "vnamedefs: `{}` is no name; letters, digits, `_` and `-` make one",
        "vnamedefs : `{}` n'est pas un nom ; lettres, chiffres, `_` et `-` en font un",
    ),
    ("`{}` is none of AVERAGE, MIN, MAX, LAST", "`{}` n'est pas l'un de AVERAGE, MIN, MAX, LAST"),
    ("librrd cannot be given the path {}", "le chemin {} ne peut pas être donné à librrd"),
    ("there may be {} arguments of {} bytes", "{} arguments de {} octets au plus"),
    ("`{}` has a NUL", "`{}` contient un octet nul"),
    ("`{}`: {} takes no value", "`{}` : {} ne prend pas de valeur"),
    ("`{}`: {} needs a value", "`{}` : {} demande une valeur"),
    ("`{}`: the zoom is from {} to {}", "`{}` : le zoom va de {} à {}"),
    (
        "`{}` is not among the options that are passed on to rrdgraph: take it out; files and daemons cannot be named",
        "`{}` n'est pas une option transmise à rrdgraph : la retirer ; ni fichiers ni démons ne peuvent être nommés",
    ),
    (
        "`{}`: files are not named here; write what it stands for in vnamedefs",
        "`{}` : les fichiers ne se nomment pas ici ; écrire dans vnamedefs ce dont il s'agit",
    ),
    ("`{}` is neither an option nor one of {}", "`{}` n'est ni une option ni l'un de {}"),
    (
        "what it says of itself (`describe`) is not understood: {}",
        "ce qu'il dit de lui-même (`describe`) n'est pas compris : {}",
    ),
    (
        "what it said of itself before counts meanwhile",
        "en attendant, ce qu'il avait dit de lui-même auparavant fait foi",
    ),
    (
        "once `describe` is corrected, restart the service, or wait for an hour: it is asked again",
        "une fois `describe` corrigé, redémarrer le service ou attendre une heure : la question sera reposée",
    ),
    (
        "`describe`, [[{}]] {}: it cannot have {}; take that out",
        "`describe`, [[{}]] {} : {} n'y a pas sa place ; à retirer",
    ),
    ("`describe`, [[{}]] {}: {}; it does not count", "`describe`, [[{}]] {} : {} ; l'indication est ignorée"),
    ("line {}: {}", "ligne {} : {}"),
    ("min_bound is not below max_bound", "min_bound n'est pas inférieur à max_bound"),
    ("it does not describe itself: {}", "il ne se décrit pas : {}"),
    (
        "it is measured without an answer to `describe` (describe = false spares asking): {}",
        "il est mesuré sans réponse à `describe` (describe = false évite de la demander) : {}",
    ),
    ("it is no directory; move it away", "ce n'est pas un répertoire ; le déplacer"),
    (
        "it belongs to another user, or others may write into it; move it away",
        "il appartient à un autre utilisateur, ou d'autres peuvent y écrire ; le déplacer",
    ),
    (
        "it made no PNG; does main() call graph::draw() for the word \"draw\"?",
        "il n'a pas fait de PNG ; main() appelle-t-il graph::draw() pour le mot « draw » ?",
    ),
];
