#!/usr/bin/env bash
# Makes every sound of this folder anew: prompts spoken by espeak-ng, beeps, tones and music on hold synthesised by sox.
# All files are WAV, 8000 Hz, A-law, mono, and the same input gives the same bytes (no dither, a fixed random seed).
# Needs espeak-ng and sox. Usage: sounds/generate.sh [DIRECTORY], by default the folder it lies in.
set -euo pipefail
export LC_ALL=C.UTF-8

out=${1:-$(cd "$(dirname "$0")" && pwd)}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# -R keeps sox's random generator at one seed, -D keeps it from adding dither.
# What is only worked with stays linear (part); what is kept is A-law, which calls speak and which takes half the room.
part() { sox -R -D -n -r 8000 -b 16 -c 1 "$@"; }
tone() { sox -R -D -n -r 8000 -e a-law -c 1 "$@"; }

# say LANGUAGE NAME TEXT: silence at both ends is cut to 50 ms and the peak set to -4 dB, which leaves room for mixing.
say() {
  local voice=$1 name=$2 text=$3 file="$out/$1/$2.wav"
  case $voice in en) local espeak=en-us speed=150 ;; ru) local espeak=ru speed=145 ;; esac
  mkdir -p "$(dirname "$file")"
  espeak-ng -v "$espeak" -s "$speed" -w "$work/voice.wav" "$text"
  sox -R -D "$work/voice.wav" -r 8000 -e a-law -c 1 "$file" \
    gain -6 highpass 120 silence 1 0.01 0.5% reverse silence 1 0.01 0.5% reverse pad 0.05 0.05 norm -4
}

for language in en ru; do
  mkdir -p "$out/$language/digits" "$out/$language/silence"
  tone "$out/$language/beep.wav" synth 0.25 sine 1000 fade q 0.01 0.25 0.01 gain -9
  tone "$out/$language/confbridge-join.wav" synth 0.12 sine 660 : synth 0.18 sine 880 fade q 0.01 0 0.02 gain -12
  tone "$out/$language/confbridge-leave.wav" synth 0.12 sine 880 : synth 0.18 sine 660 fade q 0.01 0 0.02 gain -12
  tone "$out/$language/beeperr.wav" synth 0.4 sine 400 fade q 0.01 0.4 0.01 gain -9
  for seconds in 1 2 3; do
    tone "$out/$language/silence/$seconds.wav" trim 0 "$seconds"
  done
done

# all LANGUAGE PREFIX SUFFIX NAME TEXT NAME TEXT ...
all() {
  local language=$1 prefix=$2 suffix=$3
  shift 3
  while [ $# -gt 0 ]; do
    say "$language" "$prefix$1$suffix" "$2"
    shift 2
  done
}

all en digits/ "" 0 zero 1 one 2 two 3 three 4 four 5 five 6 six 7 seven 8 eight 9 nine 10 ten 11 eleven 12 twelve \
  13 thirteen 14 fourteen 15 fifteen 16 sixteen 17 seventeen 18 eighteen 19 nineteen 20 twenty 30 thirty 40 forty \
  50 fifty 60 sixty 70 seventy 80 eighty 90 ninety hundred hundred thousand thousand million million billion billion \
  star star pound pound minus minus oh oh oclock "o'clock" and and at at a-m "ay em" p-m "pee em" today today \
  yesterday yesterday dollar dollar dollars dollars cent cent cents cents \
  day-0 Sunday day-1 Monday day-2 Tuesday day-3 Wednesday day-4 Thursday day-5 Friday day-6 Saturday \
  mon-0 January mon-1 February mon-2 March mon-3 April mon-4 May mon-5 June mon-6 July mon-7 August mon-8 September \
  mon-9 October mon-10 November mon-11 December
all en digits/h- "" 0 zeroth 1 first 2 second 3 third 4 fourth 5 fifth 6 sixth 7 seventh 8 eighth 9 ninth 10 tenth \
  11 eleventh 12 twelfth 13 thirteenth 14 fourteenth 15 fifteenth 16 sixteenth 17 seventeenth 18 eighteenth \
  19 nineteenth 20 twentieth 30 thirtieth 40 fortieth 50 fiftieth 60 sixtieth 70 seventieth 80 eightieth 90 ninetieth \
  hundred hundredth thousand thousandth million millionth billion billionth
all en letters/ "" a ay b bee c see d dee e ee f ef g jee h aitch i eye j jay k kay l el m em n en o oh p pee q cue \
  r are s ess t tee u you v vee w "double you" x ex y why z zee exclaimation-point "exclamation point" at at \
  dollar dollar dash dash dot dot equals equals plus plus slash slash space space
all en phonetic/ _p a alpha b bravo c charlie d delta e echo f foxtrot g golf h hotel i india j juliet k kilo l lima \
  m mike n november o oscar p papa q quebec r romeo s sierra t tango u uniform v victor w whiskey x "x ray" y yankee \
  z zulu
all en "" "" uppercase uppercase lowercase lowercase
all en conf- "" onlyone "There is one other participant in the conference." onlyperson "You are currently the only person in this conference." \
  hasjoin "has joined the conference." hasleft "has left the conference." \
  getpin "Please enter the conference pin number, then press the pound key." \
  invalidpin "That pin is not valid for this conference." invalid "That is not a valid conference number." \
  muted "You are now muted." unmuted "You are no longer muted." \
  now-muted "The conference is now muted." now-unmuted "The conference is no longer muted." \
  locked "This conference is locked." lockednow "The conference is now locked." \
  unlockednow "The conference is now unlocked." kicked "You have been removed from this conference." \
  full "This conference is full." waitforleader "The conference will begin when the leader arrives." \
  leaderhasleft "The leader has left the conference." thereare "There are currently" \
  otherinparty "other participants in the conference." placeintoconf "You will now be placed into the conference." \
  banned "You are not allowed to enter this conference." extended "The conference has been extended." \
  noempty "There are no conferences at the moment." userswilljoin "users will join the conference." \
  userwilljoin "user will join the conference." errormenu "That is not a choice of this menu." \
  usermenu "Press one to mute or unmute yourself, four and six to turn the conference down and up, seven and nine to \
turn your voice down and up, or eight to leave this menu." \
  adminmenu "Press one to mute or unmute yourself, two to lock or unlock the conference, three to remove the last \
person, four and six to turn the conference down and up, seven and nine to turn your voice down and up, or eight to \
leave this menu." \
  adminmenu-18 "Press one to mute or unmute yourself, two to lock or unlock the conference, three to remove the last \
person, four and six to turn the conference down and up, or eight for more."
say en hello-world "Hello, world."
say en demo-congrats "Congratulations. You have reached your own telephone exchange, and it works. \
You may now hang up, or dial another number."
say en demo-echotest "This is an echo test. Everything you say will be sent back to you at once, \
so that you can hear the delay between you and the exchange. Hang up to end it."
say en demo-echodone "The echo test has ended."
say en demo-instruct "Dial the number of another telephone, or wait for help."
say en demo-thanks "Thank you for trying Strowger. Goodbye."
say en pbx-invalid "I am sorry, that is not a valid number. Please try again."
all en queue- "" youarenext "Your call is now first in line, and will be answered by the next available person." \
  thereare "You are currently caller number" callswaiting "in line." holdtime "The estimated time to wait is" \
  minutes minutes minute minute seconds seconds thankyou "Thank you for your patience." \
  periodic-announce "All our people are busy at the moment. Please wait, and your call will be answered by the next one available." \
  reporthold "This caller has waited for" quantity1 "There are more than" quantity2 "callers waiting before you."
all en vm- "" theperson "The person at extension" isunavail "is not available." isonphone "is on the phone." \
  intro "Please leave your message after the tone. When done, hang up, or press the pound key." \
  login "Mailbox?" password "Password?" incorrect "Login incorrect." incorrect-mailbox "Login incorrect. Mailbox?" \
  youhave "You have" no no message message messages messages INBOX new Old old and and \
  onefor "Press one to listen to" opts "Press two to change folders, zero for mailbox options, or pound to exit." \
  changeto "Change to which folder? Press zero for new messages, or one for old messages." \
  received "Message received" from from nomore "There are no more messages." first "First message." last "Last message." \
  deleted "Message deleted." undeleted "Message undeleted." savedto "Message saved." \
  msginstruct "Press four for the previous message, five to repeat this one, six for the next, seven to delete it, \
nine to save it, or pound to exit." \
  options "Press one to record your unavailable message, two for your busy message, three for your name, four for a \
temporary greeting, five to change your password, or star for the main menu." \
  rec-unv "After the tone, say your unavailable message, and then press the pound key." \
  rec-busy "After the tone, say your busy message, and then press the pound key." \
  rec-name "After the tone, say your name, and then press the pound key." \
  rec-temp "After the tone, say your temporary greeting, and then press the pound key." \
  newpassword "Please enter your new password, and then press the pound key." \
  reenterpassword "Please enter it again, and then press the pound key." \
  passchanged "Your password has been changed." mismatch "The passwords do not match." \
  mailboxfull "This mailbox is full." msgsaved "Your message has been saved." extension extension
all en dir- "" intro "Welcome to the directory. Please enter the first three letters of the last name of the person, \
using your keypad." instr "If this is the person you are looking for, press one. Otherwise press star." \
  nomatch "No one by that name was found." nomore "There are no more people by that name."
say en vm-goodbye "Goodbye."
all en "" "" priv-recordintro "At the tone, please say your name." priv-callpending "I have a caller waiting, who says:" \
  priv-callee-options "Press one to take this call now and always. Press two to send this caller to voice mail, now and always. \
Press three to send this caller away with questions, now and always. Press four to send this caller away, now and always. \
Press five to send this caller to voice mail now, and to take his calls from then on." \
  screen-callee-options "Press one to take this call. Press two to send this caller to voice mail. Press three to send this \
caller away with questions. Press four to send this caller away." \
  vm-dialout "Please wait while I connect your call." vm-sorry "Sorry, I did not understand that." \
  vm-tempgreeting2 "Press one to record your temporary greeting, or two to erase it." vm-tempremoved "Your temporary greeting is erased."
all en privacy- "" unident "The party you are trying to reach does not take calls without a number." \
  prompt "Please enter your phone number, with its area code." incorrect "That number is not complete." thankyou "Thank you."
all en dictate/ "" enter_filename "Please enter the number of a file, and then press the pound key." forhelp "Press zero for help." \
  record_mode "Recording." playback_mode "Playing." record Record. playback Play. pause Pause. paused Paused. \
  truncating_audio "What was recorded before is deleted." \
  record_help "Press star to record or to pause, one to hear your recording, or eight to start over." \
  play_help "Press star to play or to pause, one to record, two to play faster, seven to go back, or eight to go on." \
  both_help "Press pound for another file."

all ru digits/ "" 0 ноль 1 один 2 два 3 три 4 четыре 5 пять 6 шесть 7 семь 8 восемь 9 девять 10 десять 11 одиннадцать \
  12 двенадцать 13 тринадцать 14 четырнадцать 15 пятнадцать 16 шестнадцать 17 семнадцать 18 восемнадцать \
  19 девятнадцать 20 двадцать 30 тридцать 40 сорок 50 пятьдесят 60 шестьдесят 70 семьдесят 80 восемьдесят \
  90 девяносто 100 сто 200 двести 300 триста 400 четыреста 500 пятьсот 600 шестьсот 700 семьсот 800 восемьсот \
  900 девятьсот 1f одна 1n одно 2f две thousand тысяча thousands-i тысячи thousands тысяч million миллион \
  million-a миллиона millions миллионов billion миллиард billion-a миллиарда billions миллиардов star звёздочка \
  pound решётка minus минус at в a-m утра p-m дня evening вечера night ночи today сегодня yesterday вчера \
  hour час hour-a часа hours часов minute минута minutes-i минуты minutes минут second секунда seconds-i секунды \
  seconds секунд year-a года rouble рубль rouble-a рубля roubles рублей kopeck копейка kopecks-i копейки \
  kopecks копеек day-0 воскресенье day-1 понедельник day-2 вторник day-3 среда day-4 четверг day-5 пятница \
  day-6 суббота mon-0 января mon-1 февраля mon-2 марта mon-3 апреля mon-4 мая mon-5 июня mon-6 июля mon-7 августа \
  mon-8 сентября mon-9 октября mon-10 ноября mon-11 декабря
# Ordinal numbers: первый, первая, первое, and первого for years.
all ru digits/h- "" 0 нулевой 1 первый 2 второй 3 третий 4 четвёртый 5 пятый 6 шестой 7 седьмой 8 восьмой 9 девятый \
  10 десятый 11 одиннадцатый 12 двенадцатый 13 тринадцатый 14 четырнадцатый 15 пятнадцатый 16 шестнадцатый \
  17 семнадцатый 18 восемнадцатый 19 девятнадцатый 20 двадцатый 30 тридцатый 40 сороковой 50 пятидесятый \
  60 шестидесятый 70 семидесятый 80 восьмидесятый 90 девяностый 100 сотый 200 двухсотый 300 трёхсотый \
  400 четырёхсотый 500 пятисотый 600 шестисотый 700 семисотый 800 восьмисотый 900 девятисотый 1000 тысячный \
  2000 двухтысячный
all ru digits/h- "f" 0 нулевая 1 первая 2 вторая 3 третья 4 четвёртая 5 пятая 6 шестая 7 седьмая 8 восьмая 9 девятая \
  10 десятая 11 одиннадцатая 12 двенадцатая 13 тринадцатая 14 четырнадцатая 15 пятнадцатая 16 шестнадцатая \
  17 семнадцатая 18 восемнадцатая 19 девятнадцатая 20 двадцатая 30 тридцатая 40 сороковая 50 пятидесятая \
  60 шестидесятая 70 семидесятая 80 восьмидесятая 90 девяностая 100 сотая 200 двухсотая 300 трёхсотая \
  400 четырёхсотая 500 пятисотая 600 шестисотая 700 семисотая 800 восьмисотая 900 девятисотая 1000 тысячная \
  2000 двухтысячная
all ru digits/h- "n" 0 нулевое 1 первое 2 второе 3 третье 4 четвёртое 5 пятое 6 шестое 7 седьмое 8 восьмое 9 девятое \
  10 десятое 11 одиннадцатое 12 двенадцатое 13 тринадцатое 14 четырнадцатое 15 пятнадцатое 16 шестнадцатое \
  17 семнадцатое 18 восемнадцатое 19 девятнадцатое 20 двадцатое 30 тридцатое 40 сороковое 50 пятидесятое \
  60 шестидесятое 70 семидесятое 80 восьмидесятое 90 девяностое 100 сотое 200 двухсотое 300 трёхсотое \
  400 четырёхсотое 500 пятисотое 600 шестисотое 700 семисотое 800 восьмисотое 900 девятисотое 1000 тысячное \
  2000 двухтысячное
all ru digits/h- "g" 0 нулевого 1 первого 2 второго 3 третьего 4 четвёртого 5 пятого 6 шестого 7 седьмого 8 восьмого \
  9 девятого 10 десятого 11 одиннадцатого 12 двенадцатого 13 тринадцатого 14 четырнадцатого 15 пятнадцатого \
  16 шестнадцатого 17 семнадцатого 18 восемнадцатого 19 девятнадцатого 20 двадцатого 30 тридцатого 40 сорокового \
  50 пятидесятого 60 шестидесятого 70 семидесятого 80 восьмидесятого 90 девяностого 100 сотого 200 двухсотого \
  300 трёхсотого 400 четырёхсотого 500 пятисотого 600 шестисотого 700 семисотого 800 восьмисотого 900 девятисотого \
  1000 тысячного 2000 двухтысячного
all ru letters/ "" a а b бэ c цэ d дэ e е f эф g гэ h аш i и j йот k ка l эль m эм n эн o о p пэ q ку r эр s эс t тэ \
  u у v вэ w "дубль вэ" x икс y игрек z зет exclaimation-point "восклицательный знак" at собака dollar доллар \
  dash тире dot точка equals равно plus плюс slash дробь space пробел
all ru phonetic/ _p a альфа b браво c чарли d дельта e эхо f фокстрот g гольф h отель i индия j джульетта k кило \
  l лима m майк n новэмбер o оскар p папа q квебек r ромео s сьерра t танго u юниформ v виктор w виски x иксрэй \
  y янки z зулу
all ru "" "" uppercase большая lowercase маленькая
all ru conf- "" onlyone "В конференции один участник, кроме вас." onlyperson "Сейчас вы единственный участник конференции." hasjoin "входит в конференцию." \
  hasleft "покидает конференцию." getpin "Введите код конференции и нажмите решётку." \
  invalidpin "Неверный код." invalid "Такой конференции нет." muted "Ваш микрофон выключен." \
  unmuted "Ваш микрофон включён." now-muted "Микрофоны участников выключены." \
  now-unmuted "Микрофоны участников включены." locked "Конференция закрыта." lockednow "Конференция теперь закрыта." \
  unlockednow "Конференция теперь открыта." kicked "Вы удалены из конференции." full "В конференции нет мест." \
  waitforleader "Конференция начнётся, когда придёт ведущий." leaderhasleft "Ведущий покинул конференцию." \
  thereare "Сейчас в конференции" otherinparty "других участников." placeintoconf "Вы входите в конференцию." \
  banned "Вам нельзя войти в эту конференцию." extended "Конференция продлена." noempty "Сейчас нет ни одной конференции." \
  userswilljoin "участников войдут в конференцию." userwilljoin "участник войдёт в конференцию." \
  errormenu "В этом меню нет такого пункта." \
  usermenu "Один — выключить или включить микрофон. Четыре и шесть — тише и громче конференция. Семь и девять — \
тише и громче ваш голос. Восемь — выход из меню." \
  adminmenu "Один — выключить или включить микрофон. Два — закрыть или открыть конференцию. Три — удалить последнего \
участника. Четыре и шесть — тише и громче конференция. Семь и девять — тише и громче ваш голос. Восемь — выход из меню." \
  adminmenu-18 "Один — выключить или включить микрофон. Два — закрыть или открыть конференцию. Три — удалить последнего \
участника. Четыре и шесть — тише и громче конференция. Восемь — дальше."
say ru hello-world "Здравствуй, мир."
say ru demo-congrats "Поздравляем. Вы дозвонились до собственной телефонной станции, и она работает. \
Можно повесить трубку или набрать другой номер."
say ru demo-echotest "Это проверка эха. Всё, что вы скажете, сразу вернётся к вам, \
и вы услышите задержку между вами и станцией. Чтобы закончить, повесьте трубку."
say ru demo-echodone "Проверка эха закончена."
say ru demo-instruct "Наберите номер другого телефона или подождите помощи."
say ru demo-thanks "Спасибо, что попробовали Строуджер. До свидания."
say ru pbx-invalid "Извините, такого номера нет. Попробуйте ещё раз."
all ru queue- "" youarenext "Ваш звонок первый в очереди. Вам ответит первый освободившийся сотрудник." \
  thereare "Вы в очереди под номером" callswaiting "Оставайтесь на линии." holdtime "Примерное время ожидания" \
  minutes минут minute минута seconds секунд thankyou "Спасибо за ожидание." \
  periodic-announce "Сейчас все сотрудники заняты. Оставайтесь на линии, вам ответит первый освободившийся." \
  reporthold "Клиент ждал" quantity1 "Перед вами больше" quantity2 "звонков."
all ru vm- "" theperson "Абонент" isunavail "не отвечает." isonphone "разговаривает." \
  intro "Оставьте сообщение после сигнала. Закончив, повесьте трубку или нажмите решётку." \
  login "Номер ящика?" password "Пароль?" incorrect "Неверно." incorrect-mailbox "Неверно. Номер ящика?" \
  youhave "У вас" no нет message сообщение messages сообщений INBOX новых Old старых and и \
  onefor "Нажмите один, чтобы прослушать" opts "Два — другая папка, ноль — настройки ящика, решётка — выход." \
  changeto "Какая папка? Ноль — новые сообщения, один — старые." \
  received "Сообщение получено" from от nomore "Больше сообщений нет." first "Первое сообщение." last "Последнее сообщение." \
  deleted "Сообщение удалено." undeleted "Сообщение восстановлено." savedto "Сообщение сохранено." \
  msginstruct "Четыре — предыдущее сообщение, пять — повторить, шесть — следующее, семь — удалить, девять — сохранить, \
решётка — выход." \
  options "Один — записать приветствие, когда вы не отвечаете. Два — когда вы заняты. Три — имя. Четыре — временное \
приветствие. Пять — пароль. Звёздочка — главное меню." \
  rec-unv "После сигнала скажите приветствие и нажмите решётку." \
  rec-busy "После сигнала скажите приветствие, когда вы заняты, и нажмите решётку." \
  rec-name "После сигнала скажите своё имя и нажмите решётку." \
  rec-temp "После сигнала скажите временное приветствие и нажмите решётку." \
  newpassword "Введите новый пароль и нажмите решётку." reenterpassword "Введите его ещё раз и нажмите решётку." \
  passchanged "Пароль изменён." mismatch "Пароли не совпадают." mailboxfull "Ящик полон." \
  msgsaved "Ваше сообщение сохранено." extension номер
all ru dir- "" intro "Введите первые три буквы фамилии на клавишах телефона." \
  instr "Если это тот, кого вы ищете, нажмите один. Если нет, звёздочку." nomatch "Такого имени нет." \
  nomore "Больше таких имён нет."
say ru vm-goodbye "До свидания."
all ru "" "" priv-recordintro "После сигнала назовите, пожалуйста, своё имя." priv-callpending "Вам звонят. Вот кто это:" \
  priv-callee-options "Чтобы ответить сейчас и отвечать всегда, нажмите один. Чтобы всегда отправлять на голосовую почту, два. \
Чтобы всегда отправлять к вопросам, три. Чтобы всегда отказывать, четыре. Чтобы сейчас отправить на голосовую почту, а потом \
отвечать, пять." \
  screen-callee-options "Чтобы ответить, нажмите один. Чтобы отправить на голосовую почту, два. Чтобы отправить к вопросам, три. \
Чтобы отказать, четыре." \
  vm-dialout "Подождите, соединяю." vm-sorry "Извините, не поняла." \
  vm-tempgreeting2 "Чтобы записать временное приветствие, нажмите один, чтобы стереть его, два." vm-tempremoved "Временное приветствие стёрто."
all ru privacy- "" unident "Вызываемый абонент не принимает звонки без номера." prompt "Введите свой номер телефона с кодом города." \
  incorrect "Номер введён не полностью." thankyou "Спасибо."
all ru dictate/ "" enter_filename "Введите номер файла и нажмите решётку." forhelp "Чтобы услышать подсказку, нажмите ноль." \
  record_mode "Запись." playback_mode "Воспроизведение." record Запись. playback Воспроизведение. pause Пауза. paused Пауза. \
  truncating_audio "Прежняя запись удалена." \
  record_help "Чтобы записывать или сделать паузу, нажмите звёздочку, чтобы прослушать, один, чтобы начать заново, восемь." \
  play_help "Чтобы слушать или сделать паузу, нажмите звёздочку, чтобы записывать, один, чтобы слушать быстрее, два, чтобы вернуться, \
семь, чтобы перейти вперёд, восемь." \
  both_help "Чтобы выбрать другой файл, нажмите решётку."

# Music on hold: sixteen seconds of plucked broken chords (C, Am, F, G twice) over a soft bass, our own and as plain as
# it looks. It is a whole number of bars, and its last notes have died away by the end, so the loop has no click.
moh="$out/moh/default"
mkdir -p "$moh"
bars=("C3 C4 E4 G4 C5 G4 E4 G4" "A2 A3 C4 E4 A4 E4 C4 E4" "F2 F3 A3 C4 F4 C4 A3 C4" "G2 G3 B3 D4 G4 D4 B3 D4"
  "C3 E4 G4 C5 E5 C5 G4 C5" "A2 C4 E4 A4 C5 A4 E4 A4" "F2 A3 C4 F4 A4 F4 C4 F4" "G2 B3 D4 G4 B4 G4 D4 G4")
notes=() basses=()
for bar in "${!bars[@]}"; do
  read -r bass n1 n2 n3 n4 n5 n6 n7 <<<"${bars[$bar]}"
  part "$work/bass$bar.wav" synth 2 sine "$bass" synth 2 sine amod 0.5 0 25 fade h 0.05 2 0.6 gain -14
  basses+=("$work/bass$bar.wav")
  beat=0
  for note in "$n1" "$n2" "$n3" "$n4" "$n5" "$n6" "$n7" "$n2"; do
    part "$work/note$bar.$beat.wav" synth 0.25 pluck "$note" fade q 0.004 0.25 0.03 gain -8
    notes+=("$work/note$bar.$beat.wav")
    beat=$((beat + 1))
  done
done
sox -R -D "${notes[@]}" "$work/melody.wav"
sox -R -D "${basses[@]}" "$work/bass.wav"
sox -R -D -m -v 0.9 "$work/melody.wav" -v 0.8 "$work/bass.wav" "$work/moh.wav" reverb 30 50 40 channels 1
sox -R -D "$work/moh.wav" -r 8000 -e a-law -c 1 "$moh/strowger-loop.wav" trim 0 16 fade h 0.01 16 0.15 norm -9

echo "sounds made in $out: $(find "$out" -name '*.wav' | wc -l) files, $(du -ch $(find "$out" -name '*.wav') | tail -1 | cut -f1)"
